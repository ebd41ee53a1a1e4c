import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { parseProxy, proxyFromEnvironment } from "../../src/cluster/proxy.ts";

const PROXY = "http://proxy:3128";

suite("M1: a proxy of the environment is used as by Go's net/http", () => {
  const cases: [server: string, noProxy: string | undefined, isUsed: boolean][] = [
    ["https://api.example.com", undefined, true],
    ["https://10.96.0.1", undefined, true],
    ["https://127.0.0.1:6443", undefined, false],
    ["https://127.9.9.9:6443", undefined, false],
    ["https://[::1]:6443", undefined, false],
    ["https://localhost:6443", undefined, false],
    ["https://localhost.example.com", undefined, true],
    ["https://10.96.0.1", "10.96.0.0/12", false],
    ["https://10.112.0.1", "10.96.0.0/12", true],
    ["https://10.96.0.1", "example.com, 10.96.0.0/12 ,x", false],
    ["https://10.96.0.1", "10.96.0.1", false],
    ["https://10.96.0.1", "10.96.0.1:443", false],
    ["https://10.96.0.1:6443", "10.96.0.1:443", true],
    ["https://10.96.0.1", "10.96.0.1/33", true],
    ["https://10.96.0.1", "10.96.0", true],
    ["https://[fd00:10:96::1]", "fd00:10:96::/112", false],
    ["https://[fd00:10:96::1]", "fd00:10:96::1", false],
    ["https://[fd00:10:96::1]", "[fd00:10:96::1]", false],
    ["https://[fd00:10:96::1]:6443", "[fd00:10:96::1]:6443", false],
    ["https://[fd00:10:96::1]:6443", "[fd00:10:96::1]:443", true],
    ["https://[fd00:10:96:0::1]", "fd00:0010:0096:0000:0000:0000:0000:0001", false],
    ["https://kubernetes.default.svc", "svc", false],
    ["https://kubernetes.default.svc", ".svc", false],
    ["https://kubernetes.default.svc", "*.svc", false],
    ["https://kubernetes.default.svc", "vc", true],
    ["https://kubernetes.default.svc", "default.svc", false],
    ["https://example.com", ".example.com", true],
    ["https://example.com", "*.example.com", true],
    ["https://example.com", "example.com", false],
    ["https://EXAMPLE.com", "Example.COM", false],
    ["https://a.example.com:6443", "example.com:6443", false],
    ["https://a.example.com:6443", "example.com:443", true],
    ["https://a.example.com", "example.com:443", false],
    ["https://10.1.2.3", "3", true],
    ["https://anything", "*", false],
    ["https://10.1.2.3", "x,*", false],
    ["https://10.1.2.3", "*x", true],
    ["https://10.1.2.3", ":443", true],
    ["https://10.1.2.3", ",,", true],
  ];
  for (const [server, noProxy, isUsed] of cases) {
    test(`${server} with NO_PROXY=${noProxy ?? ""}: ${isUsed ? "by the proxy" : "without"}`, () => {
      for (const name of ["NO_PROXY", "no_proxy"]) {
        const found = proxyFromEnvironment(new URL(server), { HTTPS_PROXY: PROXY, [name]: noProxy });
        assert.equal(found?.href, isUsed ? `${PROXY}/` : undefined);
      }
    });
  }

  test("the variable of the server's scheme counts, in capitals first, and an empty one is none", () => {
    const https = new URL("https://a");
    const http = new URL("http://a");
    assert.equal(proxyFromEnvironment(https, { https_proxy: "http://small", HTTPS_PROXY: "http://big" })?.host, "big");
    assert.equal(proxyFromEnvironment(https, { https_proxy: "http://small", HTTPS_PROXY: "" })?.host, "small");
    assert.equal(proxyFromEnvironment(https, { HTTP_PROXY: PROXY, ALL_PROXY: PROXY }), undefined);
    assert.equal(proxyFromEnvironment(http, { HTTPS_PROXY: PROXY }), undefined);
    assert.equal(proxyFromEnvironment(http, { http_proxy: PROXY })?.port, "3128");
  });

  test("an address without a scheme is one of http, and what is not an address is none", () => {
    assert.equal(parseProxy("proxy:3128")?.href, "http://proxy:3128/");
    assert.equal(parseProxy("socks5://proxy")?.protocol, "socks5:");
    for (const text of ["", "ftp://proxy", "http://", "://x"]) assert.equal(parseProxy(text), undefined);
  });
});
