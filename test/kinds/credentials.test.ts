/** Lists of credentials, and the files of tokens that belong to them. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { LIST_FORMS, parseCredentials, withTokenFiles } from "../../src/kinds/lists.ts";

test("an item is a file and its account; without one, the account is called like the file", () => {
  const lists = parseCredentials("--credentials", "multus.kubeconfig=kube-system/multus, calico.conf whereabouts=w.a");
  assert.deepEqual(lists, {
    desired: ["multus.kubeconfig", "calico.conf", "whereabouts"],
    accounts: {
      "multus.kubeconfig": { namespace: "kube-system", name: "multus" },
      "calico.conf": { name: "calico" },
      whereabouts: { name: "w.a" },
    },
  });
  const both = parseCredentials("--credentials", "a=n/a:a=n/a,B.conf");
  assert.deepEqual([both.desired, both.current], [["a"], ["a", "B.conf"]]);
  assert.deepEqual(Object.keys(parseCredentials("--credentials", "__proto__=a,toString=b").accounts ?? {}).length, 2);
});

test("what is not a file or an account is refused", () => {
  for (const text of [
    "a=B",
    "a=n/",
    "a=/b",
    "a=n/b/c",
    "a/b=c",
    "../a=c",
    ".a=c",
    "a=n s/b",
    "a.token=b",
    "A",
    "a:b:c",
    "a=*",
  ]) {
    assert.throws(() => parseCredentials("--credentials", text), { code: "usage" }, text);
  }
});

test("tokens come before their kubeconfigs, and go after them", () => {
  const of = (desired: string[], current: string[] | undefined, held: string[], isOfToken: boolean): unknown[] => {
    const lists = withTokenFiles({ desired, ...(current && { current }) }, held, isOfToken);
    return [lists.desired, lists.current];
  };
  assert.deepEqual(of(["a.conf"], undefined, [], false), [["a.conf"], undefined]);
  assert.deepEqual(of(["a.conf"], undefined, [], true), [["a.token", "a.conf"], undefined]);
  assert.deepEqual(of(["a.conf"], undefined, ["a.conf", "a.token"], false), [["a.conf"], ["a.token"]]);
  assert.deepEqual(of(["a.conf"], ["a.conf"], ["a.token"], true), [
    ["a.token", "a.conf"],
    ["a.token", "a.conf"],
  ]);
  // Removals go backwards.
  assert.deepEqual(of([], ["a.conf"], ["a.conf", "a.token"], false), [[], ["a.token", "a.conf"]]);
  assert.deepEqual(of([], ["a.conf"], ["a.conf"], true), [[], ["a.conf"]]);
  assert.throws(() => of(["a.conf", "a.kubeconfig"], undefined, [], true), { code: "usage" });
  assert.deepEqual(of(["a.conf", "a.kubeconfig"], undefined, [], false)[0], ["a.conf", "a.kubeconfig"]);
});

test("the list of credentials that are held has their accounts, and no files of tokens", () => {
  const lists = LIST_FORMS.credentials.ofHeld([
    { name: "a.conf", account: "n/a" },
    { name: "a.token", account: "n/a" },
    { name: "b" },
    { name: "a.conf", account: "n/a" },
  ]);
  assert.deepEqual(lists.desired, ["a.conf", "b"]);
  assert.deepEqual(lists.accounts?.["a.conf"], { namespace: "n", name: "a" });
});
