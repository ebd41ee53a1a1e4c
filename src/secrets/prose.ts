/** Secrets in text that is neither JSON nor YAML: messages, logs, command lines, settings of other programs (pure). */
import { isSecret, isShownText, isStrongSecret, isWordy } from "./names.ts";

/** What the value of a secret is shown as. */
export const HIDDEN = "***";

/**
 * Masks what looks like a secret wherever it stands: in `name=value`, `name: value`, `--name value`, in addresses and
 * headers, private keys and certificates, and by `maskJson` in JSON that the text quotes. Each step looks at a character
 * a bounded number of times.
 */
export function maskProse(text: string, maskJson: (json: string) => string | undefined): string {
  return new Scanner(maskTokens(text), maskJson).run();
}

/** What is a secret by its own form, whatever the name is. */
export function maskTokens(text: string): string {
  return maskPem(text)
    .replace(/(?<![\w-])eyJ[\w-]{4,}\.[\w-]{2,}(?:\.[\w-]*){0,3}/gu, HIDDEN)
    .replace(/\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,255})/gu, HIDDEN)
    .replace(/\b(bearer|basic)([ \t]{1,8})([\w.~+/-]{3,}=*)(?![\w="])/giu, maskCredentials)
    .replace(/([a-z][a-z0-9+.-]{0,30}:\/\/)([^\s/?#"'<>\\]{1,2048})@/giu, maskUserInfo)
    .replace(/(?<![\w.-])([\w.-]{1,128}:)[^\s:"'<>\\]{1,512}(@(?:tcp|udp|unix)?\()/gu, `$1${HIDDEN}$2`)
    .replace(/((?:^|\s)(?:-u|--user|--proxy-user)[ =]?["']?)([^\s:"']{1,128}):([^\s"']{1,512})/gu, maskUser)
    .replace(/((?:^|\s)-p[ ]?["']?)([^\s"'-][^\s"']{0,512})/gu, maskShortOption);
}

function maskCredentials(whole: string, scheme: string, blank: string, value: string): string {
  return /^[a-z]{1,19}$/u.test(value) ? whole : `${scheme}${blank}${HIDDEN}`;
}

/** A user without a password is a token if nobody would call himself so. */
function maskUserInfo(whole: string, scheme: string, info: string): string {
  const colon = info.indexOf(":");
  if (colon === -1) return isWordy(info) ? whole : `${scheme}${HIDDEN}@`;
  return `${scheme}${info.slice(0, colon)}:${HIDDEN}@`;
}

function maskUser(whole: string, option: string, user: string, password: string): string {
  return /^\d+$/u.test(user) && /^\d+$/u.test(password) ? whole : `${option}${user}:${HIDDEN}`;
}

/** `-p` is a password, a port, a protocol, a path; `-plugin-dir` another option. */
function maskShortOption(whole: string, option: string, value: string): string {
  const isGlued = /p["']?$/u.test(option);
  const isOther = isGlued
    ? /^[a-z]+(?:-[a-z0-9]+)*(?:=.*)?$/u.test(value)
    : /^(?:tcp|udp|icmp|icmpv6|sctp|esp|ah|all|vrrp)$/u.test(value);
  return isOther || isShownShortValue(value) ? whole : `${option}${HIDDEN}`;
}

/** A port, a mapping of ports, a path, a variable. */
export function isShownShortValue(value: string): boolean {
  return /^(?:[\d.:[\]-]+(?:\/[a-z]{2,4})?|(?:\.{0,2}\/|\$).*|\*\*\*)$/u.test(value);
}

const BEGIN = "-----BEGIN ";
const END = "-----END";

/** Also one that is cut off. */
function maskPem(text: string): string {
  let masked = "";
  let done = 0;
  for (let from = text.indexOf(BEGIN); from !== -1; from = text.indexOf(BEGIN, done)) {
    const label = text.indexOf("-----", from + BEGIN.length);
    const start = label === -1 ? from + BEGIN.length : label + 5;
    const end = text.indexOf(END, start);
    masked += `${text.slice(done, start)}${HIDDEN}`;
    done = end === -1 ? text.length : end;
  }
  return masked + text.slice(done);
}

/** A word that may be a name, with the dashes of an option before it, or what JSON may begin with. */
const NEXT = /-{0,2}[\w$][\w.$/-]*|[{[]/gu;
/** Behind a name: quotes that close it, the sign, and blanks. */
const SIGN = /(\\{0,16}["'`]?\]?)[ \t]{0,64}(:=|=>|[:=])[ \t]{0,256}(\r?\n[ \t]{0,256})?/uy;
const MISSING_SIGN = /\\{0,16}["'`][ \t\n;,]{0,64}(?=\\{0,16}["'[{])/uy;
/** The words of an API server about a field, before its value. */
const REFUSAL = /(?:Invalid|Unsupported|Duplicate|Forbidden) value: /uy;
const QUOTE = /(\\{0,16})("""|'''|["'`])/uy;
const BLOCK = /[|>][-+0-9]{0,2}[ \t]*(?:#.*)?(?=\n|$)/uy;
const UNTIL_BLANK = /[^\s"'`]*/uy;
const UNTIL_END = /[^\s"'`&;]*/uy;
const UNTIL_COMMA = /[^\s,}\])"'`]*/uy;

const NAMED = /\b(?:name|key)["']?[ \t]{0,16}[:=][ \t]{0,16}["']?([\w.-]{1,256})/gu;

/** How often JSON is looked for, and how many characters are read for it in all, as a multiple of the text. */
const MOST_ATTEMPTS = 64;
const MOST_EFFORT = 4;

class Scanner {
  readonly #text: string;
  readonly #maskJson: (json: string) => string | undefined;
  /** Does it have an entry such as `name: DB_PASSWORD`, whose value stands under another key? */
  readonly #namesSecrets: boolean;
  #line = { start: 0, end: -1 };
  #masked = "";
  #done = 0;
  #attempts = 0;
  #effort = 0;

  constructor(text: string, maskJson: (json: string) => string | undefined) {
    this.#text = text;
    this.#maskJson = maskJson;
    this.#namesSecrets = text.matchAll(NAMED).some(([, name = ""]) => isSecret(name));
  }

  run(): string {
    NEXT.lastIndex = 0;
    for (let at = 0; at < this.#text.length; at = Math.max(NEXT.lastIndex, this.#done)) {
      NEXT.lastIndex = at;
      const found = NEXT.exec(this.#text);
      if (found === null) break;
      const [word] = found;
      const next = NEXT.lastIndex;
      if (word === "{" || word === "[") this.#tryJson(found.index);
      else this.#tryName(word, found.index, next);
      NEXT.lastIndex = next;
    }
    return this.#masked + this.#text.slice(this.#done);
  }

  #hide(from: number, to: number, shown = HIDDEN): void {
    this.#masked += this.#text.slice(this.#done, from) + shown;
    this.#done = to;
  }

  /** The line of that place. Lines may be very long, and have many names. */
  #lineAt(at: number): { start: number; end: number } {
    const { start, end } = this.#line;
    if (at < start || at > end) {
      const newline = this.#text.indexOf("\n", at);
      this.#line = {
        start: at === 0 ? 0 : this.#text.lastIndexOf("\n", at - 1) + 1,
        end: newline === -1 ? this.#text.length : newline,
      };
    }
    return this.#line;
  }

  /** JSON that is whole, in the middle of the text. */
  #tryJson(from: number): void {
    if (this.#attempts >= MOST_ATTEMPTS || this.#effort > MOST_EFFORT * this.#text.length) return;
    this.#attempts++;
    const json = quotedJson(this.#text, from);
    this.#effort += json?.length ?? this.#text.length - from;
    const masked = json === undefined ? undefined : this.#maskJson(json);
    if (json !== undefined && masked !== undefined) this.#hide(from, from + json.length, masked);
  }

  #tryName(word: string, from: number, to: number): void {
    const isOption = word.startsWith("-");
    if (!isOption && isPath(word, this.#text[from - 1])) return;
    const name = word.replace(/^-+/u, "");
    const sign = match(SIGN, this.#text, to);
    const isNamedBefore = /^value$/iu.test(name) && this.#namesSecrets;
    if (!isNamedBefore && !isSecret(name)) return;
    if (this.#text.startsWith("://", to)) return;
    if (sign !== undefined) this.#hideValue(name, from, to, sign);
    else if (isOption) this.#hideOperand(name, to);
    else {
      const missing = match(MISSING_SIGN, this.#text, to);
      if (missing !== undefined) this.#hideStructured(name, to + missing[0].length);
    }
  }

  /** `--token S3CRET` */
  #hideOperand(name: string, at: number): void {
    const blank = match(/[ \t]{1,64}(?!-)/uy, this.#text, at);
    if (blank === undefined) return;
    const start = at + blank[0].length;
    if (this.#hideStructured(name, start)) return;
    this.#hideRun(name, start, UNTIL_BLANK);
  }

  #hideValue(
    name: string,
    from: number,
    to: number,
    [whole, quote = "", sign = "", newline = ""]: RegExpExecArray,
  ): void {
    const start = to + whole.length;
    const before = this.#text.slice(this.#lineAt(from).start, from);
    const isFirst = /^[ \t]*(?:#+[ \t]*)?(?:- ?)*(?:(?:export|set|env|ENV)[ \t]+)?["'`]?-{0,2}$/u.test(
      before.slice(0, 256),
    );
    if (newline !== "") {
      if (isFirst && sign === ":" && quote.length < 2)
        this.#hideBlock(before.length, to + whole.length - newline.length, start);
      else if (quote !== "") this.#hideStructured(name, start);
      return;
    }
    const refusal = match(REFUSAL, this.#text, start);
    const value = refusal === undefined ? start : start + refusal[0].length;
    const block = isFirst && sign === ":" ? match(BLOCK, this.#text, value) : undefined;
    if (block !== undefined) return this.#hideBlock(before.length, value, value + block[0].length + 1);
    if (this.#hideStructured(name, value)) return;
    const isOption = before.endsWith("-") || this.#text[from] === "-";
    if (quote !== "") return this.#hideRun(name, value, UNTIL_COMMA);
    if (isOption) return this.#hideRun(name, value, UNTIL_BLANK);
    if (isFirst) return this.#hideLine(name, value, before.length, sign);
    if (sign !== ":") return this.#hideRun(name, value, UNTIL_END);
    this.#hideRun(name, value, UNTIL_COMMA, (text) => isProse(name, text));
  }

  /** A text in quotes, a list, an object: true if there is one. What is not closed ends with the text. */
  #hideStructured(name: string, at: number): boolean {
    const quoted = match(QUOTE, this.#text, at);
    if (quoted !== undefined) {
      const start = at + quoted[0].length;
      const end = closingQuote(this.#text, start, quoted[1] ?? "", quoted[2] ?? "");
      if (!isShownText(name, this.#text.slice(start, end))) this.#hide(start, end);
      else this.#skip(end);
      return true;
    }
    const character = this.#text[at] ?? "";
    if (character !== "{" && character !== "[") return false;
    if (this.#text.startsWith("{{", at)) return false;
    const end = closingBracket(this.#text, at, this.#lineAt(at).end) ?? this.#text.length;
    this.#hide(at, end, `"${HIDDEN}"`);
    return true;
  }

  /** What is behind it cannot be a value of another name. */
  #skip(to: number): void {
    this.#hide(to, to, "");
  }

  #hideRun(name: string, from: number, form: RegExp, isShown: (text: string) => boolean = () => false): void {
    const [run = ""] = match(form, this.#text, from) ?? [];
    const text = run.replace(/[.,:;)]+$/u, "");
    if (text === "" || isShownText(name, text) || isShown(text)) return;
    this.#hide(from, from + text.length);
  }

  /** The rest of the line and, of `name: value`, the lines that belong to it. */
  #hideLine(name: string, from: number, indent: number, sign: string): void {
    const { end } = this.#lineAt(from);
    const line = this.#text.slice(from, end).trimEnd();
    const comment = line.search(/[ \t][#;]/u);
    const text = (comment === -1 ? line : line.slice(0, comment)).trimEnd();
    if (isShownText(name, text) || (!isStrongSecret(name) && text.includes(" "))) return;
    if (sign === "=") return this.#hide(from, from + line.length);
    this.#hideBlock(indent, from, end + 1);
  }

  /** From there, with the lines from `next` on that are indented more than the name. */
  #hideBlock(indent: number, from: number, next: number): void {
    const { start } = this.#lineAt(from);
    const isItem = /^[ \t]*-/u.test(this.#text.slice(start, start + 256));
    let end = next;
    for (let at = this.#lineAt(next).start; at < this.#text.length;) {
      const stop = this.#lineAt(at).end;
      const [blanks = ""] = match(/[ \t]*/uy, this.#text, at) ?? [];
      const isEmpty = at + blanks.length >= stop;
      const isMore =
        blanks.length > indent || (!isItem && blanks.length === indent && this.#text.startsWith("- ", at + indent));
      if (!isEmpty && !isMore) break;
      at = stop + 1;
      if (!isEmpty) end = at;
    }
    const to = Math.max(from, Math.min(end, this.#text.length));
    const endsLine = this.#text[to - 1] === "\n";
    if (this.#text.slice(from, to).trim() === "") return;
    this.#hide(from, endsLine ? to - 1 : to, /\s/u.test(this.#text[from - 1] ?? "") ? HIDDEN : ` ${HIDDEN}`);
  }
}

/** `/etc/cert`; not `example.com/token`. */
function isPath(word: string, before: string | undefined): boolean {
  return before === "/" || (word.includes("/") && !/^[a-z0-9-]+(?:\.[a-z0-9-]+)+\/[^/]+$/u.test(word.slice(0, 512)));
}

/** In the middle of a sentence: `invalid token: expected a number`. */
function isProse(name: string, text: string): boolean {
  if (/^[a-z]+$/u.test(text)) return true;
  return !isStrongSecret(name) && (text.length < 16 || isWordy(text));
}

function match(form: RegExp, text: string, at: number): RegExpExecArray | undefined {
  form.lastIndex = at;
  return form.exec(text) ?? undefined;
}

/** The place of the quote that ends a text; the end of all where there is none. */
function closingQuote(text: string, from: number, backslashes: string, quote: string): number {
  const closing = backslashes + quote;
  for (let at = from; ;) {
    const found = text.indexOf(closing, at);
    if (found === -1) return text.length;
    let before = 0;
    while (found - 1 - before >= from && text[found - 1 - before] === "\\") before++;
    if (quote === "'" || before % 2 === 0) return found;
    at = found + 1;
  }
}

/** What may be a list or an object in JSON, from a bracket to the one that closes it. */
export function quotedJson(text: string, from: number): string | undefined {
  const to = closingBracket(text, from, text.length);
  return to === undefined ? undefined : text.slice(from, to);
}

/** Behind the bracket that closes this one. */
function closingBracket(text: string, from: number, limit: number): number | undefined {
  let depth = 0;
  let isQuoted = false;
  for (let at = from; at < limit; at++) {
    const character = text[at];
    if (isQuoted) {
      if (character === "\\") at++;
      else if (character === '"') isQuoted = false;
    } else if (character === '"') isQuoted = true;
    else if (character === "{" || character === "[") depth++;
    else if ((character === "}" || character === "]") && --depth === 0) return at + 1;
  }
  return undefined;
}
