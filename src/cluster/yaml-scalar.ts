/** What a YAML scalar means; a bigint is an integer, a number is a float. */
export type ScalarMeaning = string | boolean | null | bigint | number;

const STANDARD_TAG = "tag:yaml.org,2002:";
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

const WORDS = new Map<string, boolean | null | number>([
  ...["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"].map((word) => [word, true] as const),
  ...["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"].map((word) => [word, false] as const),
  ...["", "~", "null", "Null", "NULL"].map((word) => [word, null] as const),
  ...[".nan", ".NaN", ".NAN"].map((word) => [word, NaN] as const),
  ...[".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"].map((word) => [word, Infinity] as const),
  ...["-.inf", "-.Inf", "-.INF"].map((word) => [word, -Infinity] as const),
]);

/**
 * What a scalar means by its tag, or by its looks if it is plain and has none (go-yaml v2, which keeps to YAML 1.1 with
 * exceptions: no sexagesimals, and timestamps are texts). Undefined: it does not mean what its tag says.
 */
export function resolveScalar(text: string, isPlain: boolean, tag: string | undefined): ScalarMeaning | undefined {
  if (tag === undefined) return isPlain ? resolvePlain(text) : text;
  const kind = tag.startsWith(STANDARD_TAG) ? tag.slice(STANDARD_TAG.length) : "";
  const meant = resolvePlain(text);
  switch (kind) {
    case "bool":
    case "int":
      return typeof meant === (kind === "bool" ? "boolean" : "bigint") ? meant : undefined;
    case "float":
      if (typeof meant === "bigint") return meant > INT64_MAX ? undefined : Number(meant);
      return typeof meant === "number" ? meant : undefined;
    case "null":
      return meant === null ? null : undefined;
    case "timestamp":
      return undefined; // of no use in manifests, where all timestamps are texts
    case "binary":
      return decodeBinary(text);
    default:
      return text;
  }
}

function resolvePlain(text: string): ScalarMeaning {
  const word = WORDS.get(text);
  if (word !== undefined) return word;
  if (text.startsWith(".")) return readFloat(text.replaceAll(/(?<=[0-9])_(?=[0-9])/gu, "")) ?? text;
  if (!/^[-+0-9]/u.test(text)) return text;
  const digits = text.replaceAll("_", "");
  return readInteger(digits) ?? readFloat(digits) ?? text;
}

/** Integers of 64 bits; with a sign those of a signed integer. `0b-1` is one, too. */
function readInteger(text: string): bigint | undefined {
  const [, sign = "", digits = ""] =
    /^([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)$/u.exec(text.replace(/^0b([-+])/u, "$10b")) ??
    [];
  if (digits === "") return undefined;
  const size = BigInt(digits.replace(/^0(?=[0-7])/u, "0o"));
  const integer = sign === "-" ? -size : size;
  return integer >= INT64_MIN && integer <= (sign === "" ? UINT64_MAX : INT64_MAX) ? integer : undefined;
}

function readFloat(text: string): number | undefined {
  if (!/^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/u.test(text)) return undefined;
  const float = Number(text);
  return Number.isFinite(float) ? float : undefined;
}

/** Undefined, too, for what is not text: JSON cannot hold it. */
function decodeBinary(text: string): string | undefined {
  const base64 = text.replaceAll("\n", "");
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/u.test(base64)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(base64, "base64"));
  } catch {
    return undefined;
  }
}

/** The name of a key; undefined: this can be none. */
export function mapKeyOf(meaning: ScalarMeaning): string | undefined {
  if (meaning === null || (typeof meaning === "bigint" && meaning > INT64_MAX)) return undefined;
  return typeof meaning === "number" ? nameFloat(meaning) : String(meaning);
}

/** The shortest digits that tell a float of 32 bits from its neighbours, as Go's `%g` writes them. */
function nameFloat(value: number): string {
  const float = Math.fround(value);
  if (Number.isNaN(float)) return ".nan";
  if (!Number.isFinite(float)) return float > 0 ? ".inf" : "-.inf";
  if (Object.is(float, -0)) return "-0";
  let precision = 1;
  while (Math.fround(Number(float.toPrecision(precision))) !== float) precision++;
  const [digits, exponent] = float.toExponential(precision - 1).split("e");
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(float.toPrecision(precision)));
  return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** The number as the API server holds it: an integer of 64 bits, else a float. JSON has no others. */
export function numberOf(value: bigint | number): bigint | number {
  if (typeof value === "number") {
    const text = JSON.stringify(value);
    return Number.isSafeInteger(value) || !/^-?\d+$/u.test(text) ? value : BigInt(text);
  }
  if (value < INT64_MIN || value > INT64_MAX) return numberOf(Number(value));
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
