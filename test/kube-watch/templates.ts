/** Templates of kubectl's JSONPath, for an object that kubectl reads from a file. test/e2e/node.test.ts asks kubectl itself. */
import { writeJson } from "../../src/cni/json.ts";

export const OBJECT = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: "p",
    labels: { b: "2", a: "1" },
    annotations: { "ca.crt": "x", "example.com/empty": "", html: "<&>" },
  },
  spec: {
    hostNetwork: true,
    containers: [
      { name: "one", image: "i:1", ports: [{ containerPort: 80 }, { containerPort: 81 }] },
      { name: "two", image: "i:2" },
    ],
  },
};

export const TEMPLATES: readonly [template: string, text: string][] = [
  ["{.metadata.name}", "p"],
  ["{$.metadata.name}", "p"],
  ["{@.kind}", "Pod"],
  ["{.metadata.missing}", ""],
  [String.raw`{.metadata.annotations.example\.com/empty}`, ""],
  [String.raw`{.metadata.annotations.ca\.crt}`, "x"],
  [String.raw`{.metadata.annotations['ca\.crt']}`, "x"],
  ["{.metadata.annotations.html}", "<&>"],
  ["{.metadata.annotations}", String.raw`{"ca.crt":"x","example.com/empty":"","html":"\u003c\u0026\u003e"}`],
  ["{.metadata.labels}", '{"a":"1","b":"2"}'],
  ["{.metadata.labels.a}{.metadata.labels.b}", "12"],
  ["{.spec.hostNetwork}", "true"],
  ["{.spec.containers[1]}", '{"image":"i:2","name":"two"}'],
  ["{.spec.containers[-1].name}", "two"],
  ["{.spec.containers[-2].name}", "one"],
  ["{.spec.containers[*].name}", "one two"],
  ["{.spec.containers[*]['name']}", "one two"],
  ["{.spec.containers[0,1].name}", "one two"],
  ["{.spec.containers[0:1].name}", "one"],
  ["{.spec.containers[:1].name}", "one"],
  ["{.spec.containers[0]['name','image']}", "one i:1"],
  ['{.spec.containers[?(@.name=="one")].image}', "i:1"],
  ["{.spec.containers[?(@.name!='one')].image}", "i:2"],
  ["{.spec.containers[?(@.ports)].name}", "one"],
  ["{.spec.containers[0].ports[?(@.containerPort>80)].containerPort}", "81"],
  ["{.spec.containers[?(@.ports[0].containerPort==80)].name}", "one"],
  ["{..containerPort}", "80 81"],
  ['{range .spec.containers[*]}{.name}={.image}{"\\n"}{end}', "one=i:1\ntwo=i:2\n"],
  ["{range .spec.containers[*]}{.name}:{range .ports[*]}{.containerPort};{end} {end}", "one:80;81; two: "],
  ["kind: {.kind}!", "kind: Pod!"],
  ["no braces", "no braces"],
  ["{}", writeJson(OBJECT)],
  ["{@}", writeJson(OBJECT)],
];
