/** Completion scripts of shells, from the tables of commands and options. */
import { COMMANDS, GROUPS, type CommandSpec, type Given } from "../commands.ts";
import { usage } from "../errors.ts";
import { GLOBAL_OPTIONS, type Option } from "../options.ts";
import { nearestTo } from "../system/nearest.ts";
import { shellWord } from "../system/text.ts";
import type { Ending, World } from "../world.ts";

const SHELLS: Readonly<Record<string, () => string>> = { bash: bashScript, zsh: zshScript, fish: fishScript };
const COMMAND_SPECS: readonly (readonly [string, CommandSpec])[] = Object.entries(COMMANDS).map(
  ([name, spec]) => [name, { ...spec, options: { ...spec.options, ...GLOBAL_OPTIONS } }] as const,
);

/** The first words of commands of two words. */
const PREFIXES = [
  ...new Set(
    COMMAND_SPECS.map(([name]) => name.split(" ")).flatMap(([first = "", second]) =>
      second === undefined ? [] : first,
    ),
  ),
];

/** Prints the script. @throws Failure `usage`. */
export async function runCompletion({ operands }: Given<"completion">, world: World): Promise<Ending> {
  const [shell = ""] = operands;
  const names = Object.keys(SHELLS);
  if (!names.includes(shell)) {
    const nearest = nearestTo(shell, names);
    const hint = nearest === undefined ? `the shells are ${names.join(", ")}` : `did you mean ${nearest}?`;
    throw usage("completion", shell === "" ? "no shell given" : `unknown shell '${shell}'`, hint);
  }
  world.stdout(SHELLS[shell]?.() ?? "");
  return Promise.resolve({ exitCode: 0 });
}

/** What a value can be: one of these words, a plugin, a file, a directory; undefined: anything. */
function valuesOf(name: string, { type }: Option): readonly string[] | "plugins" | "files" | "directories" | undefined {
  if (name === "plugins") return "plugins";
  if (/DIR/u.test(type.shown)) return "directories";
  return /<(?:FILE|PATH)>/u.test(type.shown) ? "files" : type.words;
}

/** `install`, `network`: what can stand in the first place, or behind a group. */
function wordsBehind(group: string): { word: string; summary: string }[] {
  const start = group === "" ? "" : `${group} `;
  const specs = COMMAND_SPECS.filter(([name]) => name.startsWith(start)).map(([name, { summary }]) => {
    const [word = "", ...more] = name.slice(start.length).split(" ");
    const own = COMMAND_SPECS.find(([command]) => command === `${start}${word}`)?.[1].summary;
    return [word, more.length === 0 ? summary : (GROUPS[word] ?? own ?? "")] as const;
  });
  return Array.from(new Map(specs), ([word, summary]) => ({ word, summary }));
}

/** zsh runs it, too. Names of plugins are files of somebody: they are compared and never expanded (compgen -W would). */
function bashScript(): string {
  const optionCases = COMMAND_SPECS.map(([name, { options }]) => {
    const words = Object.keys(options).map((option) => `--${option}`);
    return `    ${shellWord(name)}) options=${shellWord([...words, "--help"].join(" "))} ;;`;
  });
  const values = new Map<string, string[]>();
  for (const [command, { options }] of COMMAND_SPECS) {
    for (const [name, option] of Object.entries(options)) {
      const action = actionOf(valuesOf(name, option), option);
      if (action !== undefined) values.set(action, [...(values.get(action) ?? []), shellWord(`${command} --${name}`)]);
    }
  }
  const valueCases = Array.from(values, ([action, names]) => `    ${names.join("|")}) ${action} ;;`);
  return `# Completion of cni-node. In bash: source <(cni-node completion bash)
_cni_node() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]-}
  local option= value= lead= options= kind= name
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W ${namesBehind("")} -- "$word")); return; fi
  case $command in
${PREFIXES.map(casesOfPrefix).join("\n")}
    completion) COMPREPLY=($(compgen -W ${shellWord(Object.keys(SHELLS).join(" "))} -- "$word")); return ;;
  esac
  # Bash makes three words of --name=value; zsh leaves it one.
  case $word in
    =) option=$before ;;
    --*=*) option=\${word%%=*} value=\${word#*=} lead=\${word%%=*}= ;;
    *) value=$word option=$before; if [[ $before == = ]]; then option=\${COMP_WORDS[COMP_CWORD-2]}; fi ;;
  esac
  case "$command $option" in
${valueCases.join("\n")}
  esac
  case $kind in
    plugins)
      if [[ $value == *,* ]]; then lead+=\${value%,*},; value=\${value##*,}; fi
      while read -r name; do
        if [[ $name == "$value"* && $name != *[!A-Za-z0-9._+-]* ]]; then COMPREPLY+=("$lead$name"); fi
      done <<<"$(command cni-node list 2>/dev/null)"
      return ;;
    files|directories)
      compopt -o filenames 2>/dev/null
      for name in "$value"*; do
        if [[ -d $name || ( $kind == files && -e $name ) ]]; then COMPREPLY+=("$lead$name"); fi
      done
      return ;;
    ?*)
      for name in $(compgen -W "$kind" -- "$value"); do COMPREPLY+=("$lead$name"); done
      return ;;
  esac
  case $command in
${optionCases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$options" -- "$word"))
}
complete -F _cni_node cni-node
`;
}

/** `routes` is a command as well: it may have options in the place of a second word. */
function casesOfPrefix(prefix: string): string {
  const words = namesBehind(prefix);
  return `    ${prefix})
      if ((COMP_CWORD == 2)) && [[ $word != -* ]]; then COMPREPLY=($(compgen -W ${words} -- "$word")); return; fi
      for name in $(compgen -W ${words}); do
        if [[ $name == "\${COMP_WORDS[2]-}" ]]; then command+=" $name"; fi
      done ;;`;
}

function namesBehind(group: string): string {
  const words = wordsBehind(group).map(({ word }) => word);
  return shellWord(words.join(" "));
}

/** A flag takes the word behind it only if that is a truth value: its values are not offered. */
function actionOf(values: ReturnType<typeof valuesOf>, { type }: Option): string | undefined {
  if (type.form === "flag") return undefined;
  // Nothing is offered for a value that can be anything: an option behind it would be taken for the value.
  if (values === undefined) return "return";
  return `kind=${typeof values === "string" ? values : shellWord(values.join(" "))}`;
}

function zshScript(): string {
  return `# Completion of cni-node. In zsh: source <(cni-node completion zsh)
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
${bashScript()}`;
}

function fishScript(): string {
  const commands = ["", ...PREFIXES].flatMap((group) =>
    wordsBehind(group).map(({ word, summary }) => {
      return `complete -c cni-node -n '__cni_node_behind ${group}' -a ${word} -d ${fishWord(summary)}`;
    }),
  );
  const options = new Map<string, string[]>();
  for (const [command, spec] of COMMAND_SPECS) {
    for (const [name, option] of Object.entries(spec.options)) {
      const words = `-l ${name} ${fishValues(name, option)} -d ${fishWord(option.help)}`.replaceAll(/ +/gu, " ");
      options.set(words, [...(options.get(words) ?? []), command]);
    }
  }
  const lines = Array.from(options, ([words, of]) => {
    const condition = ["__cni_node_is", ...of.map((command) => `"${command}"`)].join(" ");
    return `complete -c cni-node -n '${condition}' ${words}`;
  });
  return `# Completion of cni-node. In fish: cni-node completion fish | source
function __cni_node_behind
  set -l words (commandline -opc)
  test "$words[2..]" = "$argv"
end
function __cni_node_is
  set -l words (commandline -opc)
  for command in $argv
    string match -q -- "$command *" "$words[2..] "; and return 0
  end
  return 1
end
complete -c cni-node -f
${commands.join("\n")}
complete -c cni-node -n '__cni_node_behind completion' -a ${fishWord(Object.keys(SHELLS).join(" "))}
complete -c cni-node -s h -l help -d 'show help'
${lines.join("\n")}
`;
}

function fishValues(name: string, option: Option): string {
  const values = valuesOf(name, option);
  if (option.type.form === "flag") return "";
  if (values === "plugins") return "-x -a '(__fish_complete_list , \"command cni-node list 2>/dev/null\")'";
  if (values === "directories") return "-x -a '(__fish_complete_directories)'";
  if (values === "files") return "-r -F";
  return values === undefined ? "-x" : `-x -a ${fishWord(values.join(" "))}`;
}

/** In quotes, in which fish knows two escapes. */
function fishWord(text: string): string {
  return `'${text.replaceAll(/['\\]/gu, (character) => `\\${character}`)}'`;
}
