import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { mask, maskQuoted } from "../src/secrets.ts";

describe("the value is masked", () => {
  const cases: [what: string, text: string][] = [
    ["of a token", '{"token": "S3CRET"}'],
    ["in capitals", '{"TOKEN": "S3CRET"}'],
    ["of a key with more words", '{"client-key-data":"S3CRET","etcd_cert_file":"S3CRET","apiKey":"S3CRET"}'],
    ["of a key with blanks", '{"my token": "S3CRET"}'],
    ["with escapes", '{"password": "a\\"S3CRET\\\\"}'],
    ["on the next line", '{"secret"\n:\n  "S3CRET"}'],
    ["that is a number", '{"password": 53412}'],
    ["of a variable in a pod", '{"env": [{"name": "DB_PASSWORD", "value": "S3CRET"}]}'],
    ["of a variable whose name comes last", '{"value": "S3CRET", "name": "API_TOKEN"}'],
    ["that is a list", '{"tokens": ["S3CRET",\n "S3CRET"]}'],
    ["that is a list of lists", '{"keys": [["a"], ["S3CRET"]]}'],
    ["that is a list with a bracket in a text", '{"tokens": ["a]S3CRET", "S3CRET"]}'],
    ["that is an object", '{"secret": {"data": "S3CRET", "more": {"a": "S3CRET"}}}'],
    ["that is a list of objects", '{"certs": [{"data": "S3CRET"}]}'],
    ["that is cut off", '{"token": "S3CRET'],
    ["that is a list, cut off", '{"tokens": ["a", "S3CRET"'],
    ["behind a comment", '# a comment\n{"token": "S3CRET"}'],
    ["behind a missing comma", '{"a": {"b": 1} {"token": "S3CRET"}}'],
    ["behind a missing quote", '{"name: "a", "token": "S3CRET"}'],
    ["behind what is no JSON at all", 'text {"token": "S3CRET"}'],
    ["that is a PEM block", '{"ca": "-----BEGIN PRIVATE KEY-----\\nS3CRET\\n-----END PRIVATE KEY-----\\n"}'],
    ["in YAML", "token: S3CRET"],
    ["in a list in YAML", "users:\n- client-key-data: S3CRET\n  - token: S3CRET"],
    ["of a quoted key in YAML", "\"token\": S3CRET\n'password': S3CRET"],
    ["in a flow mapping in YAML", "users: [{name: a, user: {token: S3CRET}}]"],
    ["on lines of its own in YAML", "user:\n  client-key-data: >-\n    S3CRET\n    S3CRET\n  name: a"],
    ["of a PEM block in YAML", "ca: |\n  -----BEGIN CERTIFICATE-----\n  S3CRET\n  -----END CERTIFICATE-----\n"],
  ];
  for (const [what, text] of cases) test(what, () => assert.doesNotMatch(mask(text), /S3CRET|53412/u));
});

describe("in a message that quotes JSON the value is masked", () => {
  const cases: [what: string, text: string][] = [
    ["of a token", 'cannot use {"name":"a","client-token":"S3CRET","b":1}'],
    ["with escapes", '{"password": "a\\"S3CRET\\\\"}'],
    ["that is a number", '{"password": 53412}'],
    ["that is a list", '{"tokens": [["a"], ["S3CRET"]]}'],
    ["that is an object", '{"secret": {"data": {"a": "b"}, "more": {"a": "S3CRET"}}}'],
    ["that is cut off", '{"token": "S3CR'],
    ["in a string in JSON", String.raw`{"msg":"bad {\"token\":\"S3CRET\",\"name\":\"a\"}"}`],
    ["that is a PEM block", "-----BEGIN PRIVATE KEY-----\nS3CRET\n-----END PRIVATE KEY-----"],
  ];
  for (const [what, text] of cases) test(what, () => assert.doesNotMatch(maskQuoted(text), /S3CR|53412/u));

  test("and nothing else", () => {
    const text = 'no key "token" in /etc/cert: {"name":"a","mtu":1400,"type":"key"}; the key is wrong';
    assert.equal(maskQuoted(text), text);
    assert.equal(maskQuoted('{"token":"x","name":"a"}: bad'), '{"token":"***","name":"a"}: bad');
    assert.equal(
      maskQuoted(String.raw`{\"token\":\"x\",\"name\":\"a\"}`),
      String.raw`{\"token\":\"***\",\"name\":\"a\"}`,
    );
  });
});

test("the value is masked in a file with a fault, wherever that is", () => {
  const [before, secret, after] = [
    '{"name": "a", "list": [1, {"b": null}], ',
    '"token": ["S3CRET", {"c": "S3CRET"}]',
    ', "d": 1}',
  ];
  const inserted = fc.constantFrom(...'"\\{}[]:,x0 \n#/'.split(""), "");
  fc.assert(
    fc.property(fc.boolean(), fc.nat(), fc.nat(2), inserted, (first, place, removed, character) => {
      const part = first ? before : after;
      const at = place % (part.length + 1);
      const faulty = `${part.slice(0, at)}${character}${part.slice(at + removed)}`;
      const text = first ? `${faulty}${secret}${after}` : `${before}${secret}${faulty}`;
      assert.doesNotMatch(mask(text), /S3CRET/u);
    }),
  );
});

test("what is no secret is shown as it is", () => {
  const text = '{"name": "token", "list": ["secret", {"a": "key"}], "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}';
  assert.equal(mask(text), text);
});

test("what stands behind a secret is shown", () => {
  const masked = mask('{"token": "a", "tokens": ["b"], "name": "n", "keys": {"c": {}}, "type": "t"}');
  assert.match(masked, /"token": "\*\*\*".*"name": "n".*"type": "t"\}$/u);
});
