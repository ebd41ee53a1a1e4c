import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { mask } from "../src/secrets.ts";

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
    ["behind what is not JSON at all", 'text {"token": "S3CRET"}'],
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
  for (const [what, text] of cases) test(what, () => assert.doesNotMatch(mask(text), /S3CR|53412/u));

  test("and nothing else", () => {
    const text = 'no key "token" in /etc/cert: {"name":"a","mtu":1400,"type":"key"}; the key is wrong';
    assert.equal(mask(text), text);
    assert.equal(mask('{"token":"x","name":"a"}: bad'), '{"token":"***","name":"a"}: bad');
    assert.equal(mask(String.raw`{\"token\":\"x\",\"name\":\"a\"}`), String.raw`{\"token\":\"***\",\"name\":\"a\"}`);
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

test("what is not a secret is shown as it is", () => {
  const text = '{"name": "token", "list": ["secret", {"a": "key"}], "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}';
  assert.equal(mask(text), text);
});

test("what stands behind a secret is shown", () => {
  const masked = mask('{"token": "a", "tokens": ["b"], "name": "n", "keys": {"c": {}}, "type": "t"}');
  assert.match(masked, /"token": "\*\*\*".*"name": "n".*"type": "t"\}$/u);
});

/** A cluster's certificate authority, a pod's token. */
const PEM = "-----BEGIN RSA PRIVATE KEY-----\nS3CRET\nS3CRET\n-----END RSA PRIVATE KEY-----";
const JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.S3CRET-S3CRET";

/** An object of Kubernetes, as a diff shows it. */
function pretty(value: unknown): string {
  return JSON.stringify(value, undefined, 2);
}

function configMap(text: string): string {
  return pretty({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { file: text } });
}

describe("9, M2: a secret is masked wherever it stands", () => {
  const cni = '{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"x","password":"S3CRET"}]}\n';
  const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";
  const cases: [what: string, text: string][] = [
    ["in a CNI configuration that a ConfigMap holds", configMap(cni)],
    ["in a configuration of several lines there", configMap(pretty(JSON.parse(cni)))],
    ["in one that is cut off", configMap('{"name":"a","plugins":[{"password":"S3CRET')],
    ["in JSON in JSON in JSON", configMap(configMap(configMap(cni)))],
    ["in JSON deeper than anybody looks", Array.from({ length: 9 }).reduce<string>((text) => configMap(text), cni)],
    ["in kubectl's annotation", pretty({ metadata: { annotations: { [lastApplied]: cni } } })],
    ["in a Secret", pretty({ data: { a: "S3CRET", b: "S3CRET" }, stringData: { c: "S3CRET" }, kind: "Secret" })],
    ["in a Secret of one text", pretty({ kind: "Secret", data: "S3CRET" })],
    ["in a list of Secrets", pretty({ kind: "SecretList", items: [{ data: { a: "S3CRET" } }] })],
    ["in a list with a Secret", pretty({ kind: "List", items: [{ kind: "Secret", data: { a: "S3CRET" } }] })],
    [
      "in a Secret that kubectl has annotated",
      pretty({
        kind: "ConfigMap",
        metadata: { annotations: { [lastApplied]: '{"kind":"Secret","data":{"a":"S3CRET"}}\n' } },
      }),
    ],
    ["in a Secret in YAML", "kind: Secret\nstringData:\n  a: S3CRET\n  b: |\n    S3CRET\n    S3CRET\n"],
    ["in a Secret in YAML with a fault", "kind: Secret\nx: y: z\nstringData:\n  a: S3CRET\n"],
    ["in the second document", "a: b\n---\nkind: Secret\ndata:\n  a: S3CRET\n"],
    ["in a block", configMap("token: |\n  S3CRET\n\n  S3CRET\nnext: a\n")],
    ["in a folded block", configMap("a:\n  password: >-\n    S3CRET\n    S3CRET\n")],
    ["in a text in quotes of several lines", configMap('password: "S3CRET\n  S3CRET"\n')],
    ["in a text of several lines", configMap("password: S3CRET\n  S3CRET\na: b\n")],
    ["behind a key in quotes", configMap("'password': 'S3CRET'\n\"token\": \"S3CRET\"\n")],
    ["behind a key that is asked for", configMap("? password\n: S3CRET\n")],
    ["behind an alias", configMap("a: &a S3CRET\ntoken: *a\n")],
    ["in a comment", configMap("a: b\n# password: S3CRET\nc: d # token: S3CRET\n")],
    ["in a list", configMap("tokens:\n- S3CRET\n- S3CRET\nnext: a\n")],
    [
      "of a variable in YAML",
      configMap("- name: DB_PASSWORD\n  value: S3CRET\n- value: |\n    S3CRET\n  name: A_TOKEN\n"),
    ],
    [
      "in YAML with a fault",
      configMap("x: y: z\ntoken: S3CRET\npassword: |\n  S3CRET\nkeys:\n- S3CRET\nb:\n  token:\n    S3CRET\n"),
    ],
    ["of a variable in YAML with a fault", configMap("x: y: z\n- name: DB_PASSWORD\n  value: S3CRET\n")],
    ["in settings", configMap("[client]\nuser = a\npassword = S3CRET S3CRET\nx=1\n")],
    ["in TOML", configMap('[a]\ntoken = """\nS3CRET\n"""\nsecret = "S3CRET"\nb = 1\n')],
    ["in variables of a shell", configMap("#!/bin/sh\nexport API_TOKEN=S3CRET\nDB_PASS='S3CRET S3CRET' run\n")],
    ["in HCL", configMap('provider "a" {\n  token = "S3CRET"\n}\n')],
    ["in XML", configMap('<user name="a" password="S3CRET"/>\n')],
    ["in a connection string", configMap("Server=a;User=b;Password=S3CRET;Database=c")],
    ["in arguments", pretty({ args: ["--token=S3CRET", "--v=2", "-password=S3CRET"] })],
    [
      "in arguments with a word of their own",
      pretty({ args: ["--token", "S3CRET", "--db-password", "S3CRET", "-p", "S3CRET"] }),
    ],
    [
      "in a command",
      pretty({ command: ["sh", "-c", "run --token S3CRET --password='S3CRET S3CRET' -pS3CRET -p S3CRET"] }),
    ],
    ["in an address", pretty({ url: "https://user:S3CRET@host/path", dsn: "user:S3CRET@tcp(db:3306)/a" })],
    ["in an address whose user is a token", pretty({ repository: "https://x0S3CRETx1S3CRET@github.com/a/b" })],
    ["in the query of an address", pretty({ url: "https://host/path?a=b&access_token=S3CRET&c=d" })],
    ["of curl", pretty({ command: "curl -u alice:S3CRET --user 'bob:S3CRET' https://host" })],
    [
      "in a header",
      pretty({ a: "Authorization: Bearer S3CRET", b: "Basic UzNDUkVUUzND".replace("UzNDUkVUUzND", "S3CRETS3CRET") }),
    ],
    ["in a header of a probe", pretty({ httpHeaders: [{ name: "Authorization", value: "S3CRET" }] })],
    ["that is a private key", configMap(`a\n${PEM}\nb`)],
    ["that is a private key, cut off", configMap(PEM.slice(0, -30))],
    ["that is a JSON web token", pretty({ a: `got ${JWT}`, b: JWT })],
    ["that is a key itself", pretty({ [JWT]: 1, "password=S3CRET": 2 })],
    ["behind an escaped key", '{"\\u0074oken": "S3CRET"}'],
    ["behind the last of equal keys", '{"token": "a", "token": "S3CRET"}'],
    ["in docker's configuration", configMap('{"auths":{"registry":{"username":"a","auth":"S3CRET"}}}')],
    [
      "in a kubeconfig",
      "users:\n- name: a\n  user:\n    token: S3CRET\n    client-key-data: S3CRET\n    password: S3CRET\n",
    ],
    [
      "in a message",
      'request failed: {"user":"a","password":"S3CRET"}; retry with token=S3CRET or the password: S3CRET',
    ],
    ["in a log", 'time="a" level=error msg="no" token=S3CRET client_secret="S3CRET S3CRET" x=y'],
    ["in the objection of an API server", 'ConfigMap "a" is invalid: data.password: Invalid value: "S3CRET": too long'],
  ];
  for (const [what, text] of cases) test(what, () => assert.doesNotMatch(mask(text), /S3CRET/u));

  for (const name of [
    "MYSQL_PASSWD",
    "DB_PASSWORD",
    "GPG_PASSPHRASE",
    "AWS_CREDENTIALS",
    "GITHUB_TOKEN",
    "clientSecret",
    "API_KEY",
    "APIKEY",
    "AUTH_HEADER",
    "BASIC_AUTH",
    "OAUTH2",
    "PGPASS",
    "DB_PWD",
    "TLS_CERT",
    "privateKey",
    "example.com/token",
    "tls.crt",
    "etcd_key_file",
    "password_2",
  ]) {
    test(`of ${name}: as a key, a variable, an option, in a shell, in YAML`, () => {
      const texts = [
        pretty({ [name]: "S3CRET" }),
        pretty({ [name]: 53412 }),
        pretty({ env: [{ name, value: "S3CRET" }] }),
        pretty({ args: [`--${name}=S3CRET`, `--${name}`, "S3CRET"] }),
        configMap(`a=b\nexport ${name}=S3CRET\n`),
        configMap(`a: b\n${name}: S3CRET\n`),
        configMap(`x: y: z\n  ${name}: S3CRET\n`),
      ];
      for (const text of texts) assert.doesNotMatch(mask(text), /S3CRET|53412/u, text);
    });
  }
});

describe("9, M2: what only says which secret is meant, or where, is shown", () => {
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "token-key-secret",
      labels: { "app.kubernetes.io/name": "cert-manager", "pod-template-hash": "5c4d" },
      annotations: {
        "cert-manager.io/cluster-issuer": "letsencrypt",
        "nginx.ingress.kubernetes.io/auth-type": "basic",
      },
      managedFields: [{ fieldsV1: { "f:data": { "f:password": {}, ".": {} } } }],
    },
    spec: {
      automountServiceAccountToken: true,
      imagePullSecrets: [{ name: "regcred" }],
      tolerations: [
        { key: "node-role.kubernetes.io/control-plane", operator: "Exists", effect: "NoSchedule" },
        { key: "dedicated", operator: "Equal", value: "cni", effect: "NoExecute", tolerationSeconds: 60 },
      ],
      topologySpreadConstraints: [{ topologyKey: "kubernetes.io/hostname", matchLabelKeys: ["pod-template-hash"] }],
      affinity: { matchExpressions: [{ key: "app", operator: "In", values: ["a", "b"] }] },
      volumes: [
        {
          name: "a",
          secret: { secretName: "calico-etcd-secrets", defaultMode: 420, items: [{ key: "tls.key", path: "tls.key" }] },
        },
        {
          name: "b",
          projected: {
            sources: [{ serviceAccountToken: { audience: "api", expirationSeconds: 3607, path: "token" } }],
          },
        },
        { name: "c", configMap: { name: "certs", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      ],
      containers: [
        {
          name: "a",
          image: "ghcr.io/example/token-keeper:v1.2.3@sha256:0123456789abcdef",
          command: ["iptables", "-p", "tcp", "--dport", "443"],
          args: [
            "--secure-port=443",
            "--tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
            "--token-ttl=24h",
            "--authorization-mode=Node,RBAC",
            "-p",
            "8080",
            "--kubeconfig",
            "/etc/kubernetes/admin.conf",
          ],
          env: [
            { name: "DB_PASSWORD", valueFrom: { secretKeyRef: { name: "db", key: "password", optional: true } } },
            { name: "TOKEN_FILE", value: "/var/run/secrets/tokens/api" },
            { name: "USE_TLS_CERT", value: "true" },
            { name: "PASSWORD", value: "$(DB_PASSWORD)" },
            { name: "KEY_LENGTH", value: "2048" },
            { name: "URL", value: "https://host:8443/token/key?page=2" },
          ],
          envFrom: [{ secretRef: { name: "more" } }],
        },
      ],
    },
  };
  const cases: [what: string, text: string][] = [
    ["in a pod", pretty(pod)],
    [
      "in a service account",
      pretty({ kind: "ServiceAccount", secrets: [{ name: "a-token-x7k2p" }], automountServiceAccountToken: false }),
    ],
    [
      "in a role",
      pretty({ rules: [{ apiGroups: [""], resources: ["secrets", "serviceaccounts/token"], verbs: ["get"] }] }),
    ],
    ["in a driver", pretty({ tokenRequests: [{ audience: "vault", expirationSeconds: 3600 }] })],
    ["in a certificate", pretty({ secretName: "a-tls", privateKey: {}, privateKeySecretRef: { name: "issuer" } })],
    ["in an ingress", pretty({ tls: [{ hosts: ["a"], secretName: "a" }] })],
    [
      "in a monitor",
      pretty({ bearerTokenFile: "/var/run/secrets/token", bearerTokenSecret: { name: "a", key: "token" } }),
    ],
    [
      "of numbers and truth values",
      pretty({ tokenExpirationSeconds: 3600, certRotation: true, keySize: 4096, secret: null, token: "" }),
    ],
    ["of lists of names", pretty({ keys: ["app", "tier", "app.kubernetes.io/name"] })],
    [
      "in a configuration",
      pretty({
        type: "calico",
        kubernetes: { kubeconfig: "/etc/cni/net.d/calico-kubeconfig" },
        etcd_key_file: "/etc/calico/certs/key.pem",
      }),
    ],
    ["in a template", pretty({ token: "__SERVICEACCOUNT_TOKEN__", password: "${DB_PASSWORD}" })],
    [
      "in a kubeconfig",
      "users:\n- name: a\n  user:\n    tokenFile: /var/run/secrets/token\n    client-key: /etc/kubernetes/pki/a.key # the key\n",
    ],
    [
      "in settings of authentication",
      pretty({
        authentication: { x509: { clientCAFile: "/etc/ca.crt" } },
        authorization: { mode: "Webhook" },
        auth: "none",
      }),
    ],
    ["already masked", pretty({ kind: "Secret", data: { a: "***", b: "*** (other)" } })],
    [
      "in YAML",
      "# the token is in a Secret\nsecretName: a\nkeyboard: us\nsecretKeyRef:\n  name: a\n  key: password\nauthor: me\n",
    ],
    [
      "in words",
      pretty({ description: "the token, the password and the key; a certificate", author: "a", monkey: "b" }),
    ],
    [
      "in Corefile",
      configMap(".:53 {\n    errors\n    kubernetes cluster.local in-addr.arpa {\n        ttl 30\n    }\n}\n"),
    ],
    [
      "in a script",
      configMap("#!/bin/sh\nset -e\nmkdir -p /opt/cni/bin\nssh -p 22 host\ndocker run -p 80:80 -u 0:0 a\n"),
    ],
  ];
  for (const [what, text] of cases) test(what, () => assert.equal(mask(text), text));

  for (const message of [
    "tls: failed to verify certificate: x509: certificate signed by unknown authority",
    'secrets "db" is forbidden: User "a" cannot get resource "secrets" in API group "" in the namespace "b"',
    "invalid token: unexpected end of input",
    "the key of 10-a.conflist is not there; add --config-source=/etc/cni/net.d",
    "Get https://10.96.0.1:443/api/v1/namespaces/a/secrets/token: dial tcp 10.96.0.1:443: connect: connection refused",
    'plugin type="calico" failed (add): error getting ClusterInformation: connection is unauthorized: Unauthorized',
    "[default/token-0:kube]: error adding container to network",
  ]) {
    test(`in a message: ${message}`, () => assert.equal(mask(message), message));
  }
});

describe("9, M2: everything else stays as it is written", () => {
  test("in JSON, with its blanks, escapes and numbers", () => {
    const text = '{ "a" :\t1.50,\n\n "token":"S3CRET" , "b":"\\u00e4\\/", "c": 12345678901234567890 }\n';
    assert.equal(mask(text), text.replace("S3CRET", "***"));
  });

  test("in YAML, with its comments and blocks", () => {
    const text = "# first\na:   'b'\ntoken:   S3CRET  # why\n\nlist: [ 1,2 ]\nblock: |\n  x\n    y=1\n";
    assert.equal(mask(text), text.replace("S3CRET", '"***"'));
  });

  test("in a block, with its lines and indentation", () => {
    const text = "file: |\n  [client]\n    password = S3CRET\n\n  user = a\nnext: b\n";
    assert.equal(mask(text), text.replace("S3CRET", "***"));
  });

  test("in a command line, an address, a message", () => {
    assert.equal(mask("run --token=S3CRET --v=2"), "run --token=*** --v=2");
    assert.equal(mask("https://user:S3CRET@host:1/a?b=c"), "https://user:***@host:1/a?b=c");
    assert.equal(mask('bad {"token":"S3CRET", "a": 1}: stop'), 'bad {"token":"***", "a": 1}: stop');
    assert.equal(mask(`x ${PEM} y`), "x -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY----- y");
  });

  test("and what is masked is masked already", () => {
    const values = fc.jsonValue();
    fc.assert(
      fc.property(fc.constantFrom("token", "a", "password", "key", "auth", "value", "name"), values, (key, value) => {
        const masked = mask(pretty({ [key]: value, list: [{ [key]: value }] }));
        assert.equal(mask(masked), masked);
      }),
    );
  });
});

test("9, M2: what is masked in an object is masked in any text that holds it", () => {
  const secret = {
    password: "S3CRET",
    list: [{ token: ["S3CRET", { a: "S3CRET" }] }],
    env: [{ name: "A_KEY", value: "S3CRET" }],
  };
  const wraps: ((text: string) => string)[] = [
    configMap,
    (text) => `a:\n  file: |\n${text.replaceAll(/^/gmu, "    ")}\n`,
    (text) => `failed: ${text}: stop`,
    (text) => JSON.stringify(text),
    (text) => `msg=${JSON.stringify(text)} x=y`,
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...wraps), { maxLength: 3 }), fc.nat(2), (chosen, indent) => {
      const text = chosen.reduce((inner, wrap) => wrap(inner), JSON.stringify(secret, undefined, indent));
      assert.doesNotMatch(mask(text), /S3CRET/u);
    }),
  );
});
