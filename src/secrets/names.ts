/** Which names have a value that is shown to nobody, and which values of such names are no secret (pure). */

const STRONG =
  /token|secret|passw|passphrase|credential|(?<!by|com|tres|sur)pass$|(?:^|[^a-z])(?:pwd|creds?|jwt|psk|bearer)$/u;
const WEAK = /(?<!mon|don|tur|hoc|jer|whis)key(?!word|board|cloak|stone|frame)|cert(?!ain)|(?:^|[^a-z])(?:crt|pem)$/u;
const AUTH = /(?:^|[^a-z])o?auth(?:$|[^a-z]|orization)/u;

/** The longest name that is looked at; of a longer one its end, where the word is that says what the value is. */
const LONGEST_NAME = 512;

/** `authToken`, `example.com/AUTH_TOKEN` → `auth_token` */
function wordsOf(name: string): string {
  const end = name.slice(-LONGEST_NAME);
  const own = /^[a-z0-9-]+(?:\.[a-z0-9-]+)+\/(.+)$/u.exec(end)?.[1] ?? end;
  return own.replaceAll(/([a-z0-9])(?=[A-Z])/gu, "$1_").toLowerCase();
}

/** Does a key, variable or option of that name have a value that is shown to nobody? */
export function isSecret(name: string): boolean {
  const words = wordsOf(name);
  return STRONG.test(words) || WEAK.test(words) || AUTH.test(words);
}

/** Such a name in prose, where `the key: what it says` and `certificate: signed by …` are no secrets. */
export function isStrongSecret(name: string): boolean {
  return STRONG.test(wordsOf(name));
}

/** `auth`, `authorization`: a group of settings more often than a secret. */
export function isSettings(name: string): boolean {
  const words = wordsOf(name);
  return AUTH.test(words) && !STRONG.test(words) && !WEAK.test(words);
}

/** `***`, and what says that a hidden value is another one. */
const HIDDEN = /^\*\*\*(?: \(other\))?$/u;
/** Something else is put in its place: by the kubelet, a shell, an installer, Helm. */
const PLACEHOLDER = /^(?:\$\([A-Za-z_]\w*\)|\$\{[A-Za-z_]\w*\}|__[A-Z][A-Z0-9_]*__|\{\{[^{}]{1,200}\}\})$/u;
const CONSTANT = /^(?:true|false|null|~|yes|no|on|off|none|enabled|disabled)$/iu;
/** A name that people have thought of: `tls.key`, `DB_PASSWORD`, `node-role`; not what a machine has made. */
const WORDY = /^[A-Za-z]{1,24}\d{0,2}(?:[-._ ,](?:[A-Za-z]{1,24}\d{0,2}|\d{1,4}))*$/u;
const WORDY_PATH = /^(?:\.{0,2}\/|[A-Za-z]:\\|file:\/\/\/)?[^/\s]+(?:\/[^/\s]+)*\/?$/u;
const LABEL = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}\/[A-Za-z0-9][\w.-]{0,62}$/u;
const QUANTITY = /^(?:\d{1,9}(?:\.\d{1,9})?(?:[a-zA-Zµ%]{1,3}(?!\w{8}))?){1,4}$/u;
const OBJECT_NAME = /^[a-z0-9](?:[-a-z0-9.]{0,252}[a-z0-9])?(?:\/[a-z0-9](?:[-a-z0-9.]{0,252}[a-z0-9])?)?$/u;

/** The last word of a name says that its value is not the secret but its name, place, size or sort. */
const ENDINGS: readonly (readonly [RegExp, RegExp])[] = [
  [/(?:name|names|ref|refs|reference|namespace)$/u, OBJECT_NAME],
  [
    /(?:[^a-z](?:age|bits|count|depth|limit|max|min|mode|number|port|ports|size|ttl|version|weight)|seconds|minutes|hours|days|timeout|period|duration|interval|expiration|expiry|lifetime|length|rotation)$/u,
    QUANTITY,
  ],
  [
    /(?:[^a-z](?:type|kind|mode|field|prefix|suffix|class|version|usages?|audiences?|issuer|source|scopes?|realm|methods?|group|claim|template|selector|policy|format)|algorithm|provider|strategy|operator)$/u,
    WORDY,
  ],
];
const PLACE = /(?:file|files|filename|path|paths|dir|directory|location|mount)$/u;
const ADDRESS = /(?:^|[^a-z])(?:urls?|uri|endpoints?|server|host|address|addr)$/u;

/** Keys whose values are names of labels, annotations or fields. */
const NAMES_OF_KEYS = /^(?:topology_key|(?:mis)?match_label_keys|label_keys|x-kubernetes-list-map-keys)$/u;

/** Is this text, the value of a name that `isSecret`, something that may be shown? */
export function isShownText(name: string, text: string): boolean {
  if (text === "" || HIDDEN.test(text) || CONSTANT.test(text)) return true;
  if (text.length > 1024) return false;
  if (PLACEHOLDER.test(text) || isWordyPath(text, 2)) return true;
  const words = wordsOf(name);
  if (ENDINGS.some(([ending, form]) => ending.test(words) && form.test(text))) return true;
  if (PLACE.test(words) && isWordyPath(text, 1)) return true;
  if (ADDRESS.test(words) && /^[a-z][a-z0-9+.-]{0,20}:\/\//u.test(text)) return true;
  if (NAMES_OF_KEYS.test(words) && (isWordy(text) || LABEL.test(text))) return true;
  if (STRONG.test(words)) return false;
  return WEAK.test(words) ? LABEL.test(text) : isSettings(name) && /^[a-z]{1,12}$/iu.test(text);
}

/** Is this number, the value of a name that `isSecret`, something that may be shown? */
export function isShownNumber(name: string, text: string): boolean {
  const words = wordsOf(name);
  return ENDINGS.some(([ending, form]) => form === QUANTITY && ending.test(words) && form.test(text));
}

/** Names that people have thought of, in a list: `keys: [app, tier]`. */
export function isShownList(name: string, texts: readonly string[]): boolean {
  const words = wordsOf(name);
  return !STRONG.test(words) && words.endsWith("keys") && texts.every((text) => isWordy(text) || LABEL.test(text));
}

/** @param parts how many it must have: one alone may as well be a password. */
function isWordyPath(text: string, parts: number): boolean {
  if (text.length > 512 || !WORDY_PATH.test(text)) return false;
  const names = text.split(/[/\\]/u).filter((part) => !["", ".", "..", "file:"].includes(part));
  if (names.length < parts || (parts > 1 && !/^\.{0,2}\//u.test(text))) return false;
  return names.every((part) => isWordy(part.replace(/^\./u, "")) || /^\d{1,10}$/u.test(part));
}

export function isWordy(text: string): boolean {
  return text.length <= 253 && WORDY.test(text);
}

/** What an object has that only says which secret is meant, or where it is put. */
const REFERENCE_KEYS = new Set(
  (
    "name namespace kind apiVersion apiGroup group optional key secretName defaultMode items path mode audience " +
    "audiences expirationSeconds uid resourceVersion fieldPath"
  ).split(" "),
);
const REFERENCE_ANCHORS = new Set(["name", "secretName", "path", "audience", "audiences"]);

/** Is an object with these keys a reference: `secretKeyRef: {name, key}`, `secret: {secretName, items}`? */
export function isReferenceObject(keys: readonly string[]): boolean {
  return keys.every((key) => REFERENCE_KEYS.has(key)) && keys.some((key) => REFERENCE_ANCHORS.has(key));
}

/** Are these keys those of a toleration, a requirement of a selector, an item of a volume? */
export function isSelection(keys: readonly string[]): boolean {
  return ["operator", "effect", "path", "topologyKey"].some((key) => keys.includes(key));
}
