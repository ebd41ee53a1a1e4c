/** What a kind of asset is to a run. `table.ts` has the kinds. Pure. */
import { isFileKind, type FileKind, type Kind } from "../asset.ts";
import type { DirectoryListing } from "../cni/listing.ts";
import type { Objections } from "../errors.ts";
import type { CureOfAsset, Finding } from "../finding.ts";
import type { Live } from "../host/inspect.ts";
import type { HeldAsset, HostRecord, SeenFile } from "../host/record.ts";
import type { FileStep } from "../host/transaction.ts";
import type { CatalogueEntry } from "../node/catalogue.ts";
import type { ChainEntry } from "../node/chain-edit.ts";
import type { NodeFacts } from "../node/facts.ts";
import type { NodeView } from "../node/view.ts";
import type { Content } from "./content.ts";
import type { CredentialsOptions } from "./credentials.ts";
import type { DelegateOptions } from "./delegate.ts";
import type { ChainItem, Lists } from "./lists.ts";
import type { ManifestOptions } from "./manifest-plan.ts";
import type { Texts } from "./source.ts";

/** One thing that cni-node installs, by its file name. */
export interface Asset {
  kind: Kind;
  name: string;
}

/** What is done about a rendered configuration that the CNI specification does not allow. */
export type Validation = "strict" | "warn" | "off";

/** What is asked for and how, without the places on the node. */
export interface Wanted {
  lists: Partial<Record<Kind, Lists>>;
  owner: string;
  refresh: boolean;
  prune: boolean;
  takeOver: boolean;
  /** Read the files that are compared, even if nothing says that they have changed. */
  checksum: boolean;
  validate: Validation;
  /** Remove plugins and credentials that are still needed. */
  force: boolean;
  /** Removals that nobody asked for by name may leave the node without a configuration. */
  allowNoNetwork: boolean;
  configMode?: number | undefined;
  sources: Record<"plugin" | "config", string>;
  /** Templates that win over the files of `sources.config`. */
  configTexts?: Texts;
  /** Multus is to be put around the primary. */
  delegate?: DelegateOptions | undefined;
  /** Plugins that are to be appended to networks of others; undefined: nobody asks. */
  chain?: readonly ChainItem[] | undefined;
  /** Those that are to go. */
  unchain?: readonly ChainItem[] | undefined;
  /** What `chain` makes of files, by their names. */
  chained?: ReadonlyMap<string, Chained> | undefined;
  /** The podCIDRs of the node are put into the configurations. */
  injectPodCidr: boolean;
  manifests: ManifestOptions;
  credentials: CredentialsOptions;
  /** What stands for variables in templates. */
  facts: NodeFacts;
}

/** A file into which plugins of ours are chained. */
export interface Chained {
  entries: ChainEntry[];
  /** The whole file is ours, made of this one, which is of a single plugin. */
  copyOf?: string;
  /** The file of others, as it was when it was edited. */
  live?: Live;
}

/** A directory of the node as it is now. */
export interface Directory {
  path: string;
  record: HostRecord | undefined;
  /** Where what was there before is kept, by the descriptor of a directory that nobody else can have written to. */
  objects: string;
}

/** The target directories of a run. */
export type Directories = Partial<Record<FileKind, Directory>>;

/** What of the node can be seen, asked for or not. */
export interface Surroundings {
  hostRoot: string;
  /** The directory of configurations, where it is there. */
  configDirectory: string | undefined;
}

/** What became of an asset, in kubectl's words where it has them. */
export type Outcome = "created" | "configured" | "unchanged" | "deleted" | "absent" | "kept";

/** The outcomes of steps that change something. */
export const CHANGES: readonly Outcome[] = ["created", "configured", "deleted"];

/** One thing to do. `leave`: the caller says that it is there, so that it is not even looked at. */
export interface Step extends Asset {
  action: "install" | "uninstall" | "leave";
  /** Nobody named this asset: it is removed because its owner no longer desires it. */
  pruned?: boolean;
}

/** One that is about a file. */
export interface StepOfFile extends Step {
  kind: FileKind;
}

/** Is it about a file? */
export function isOfFile(step: Step): step is StepOfFile {
  return isFileKind(step.kind);
}

/** What became of a step, or of one object of a manifest, for the report. */
export interface StepResult extends Asset {
  action: Step["action"];
  /** Of a manifest: the object, `ConfigMap kube-system/a`. */
  object?: string;
  outcome: Outcome;
  reason?: string;
  /** Somebody else has changed a file, which is as it was installed again. */
  isRepair?: boolean;
  /** Both contents of a configuration or object that is or would be changed. */
  texts?: { before: string; after: string };
}

/** The name of a step for people: `config 10-net.conflist`, `manifest a.yaml ConfigMap default/a`. */
export function nameOfStep({
  kind,
  name,
  object,
}: {
  kind: string;
  name: string;
  object?: string | undefined;
}): string {
  return [kind, name, object].filter(Boolean).join(" ");
}

/** What is to become of one asset that is a file. */
export interface Decided {
  step: StepOfFile;
  result: StepResult;
  warning?: Finding;
  /** What is to be written to the directory or its record; undefined: nothing. */
  file?: FileStep;
  /** The file was read and is right; the record does not say so yet. */
  seen?: SeenFile;
}

/** What a run is about to change, as the proof sees it. */
export interface Changes {
  /** The node's directory of configurations; undefined: it cannot be seen. */
  configs?: {
    directory: string;
    before: DirectoryListing;
    after: DirectoryListing;
    /** The names of files that change, and of those that get new content. */
    changed: readonly string[];
    written: readonly string[];
  };
  /** Plugins by name, and where their new content is now; undefined: it goes. */
  plugins: ReadonlyMap<string, string | undefined>;
  /** What the catalogue of the image says of plugins that are written; their content is checked against it. */
  entries: ReadonlyMap<string, CatalogueEntry | undefined>;
  /** The names of plugins and configurations that were there before cni-node, and come back as they were. */
  restored: ReadonlySet<string>;
  /** Files that configurations may name, by their paths on the node: will they be there? */
  files: ReadonlyMap<string, boolean>;
  /** Plugins that this run cannot bring, which is an objection of its own. */
  refused: ReadonlySet<string>;
  /** Where they are installed, if any are. */
  pluginDirectory: string;
}

/** The desired assets of one kind, as they were read. */
export interface Desired {
  /** By name. An asset without content has objections. */
  contents: ReadonlyMap<string, Content>;
  warnings: readonly Finding[];
  /** What else is to be said, once it is decided which of them are written. */
  warningsOf?: (files: readonly Decided[]) => Finding[];
  /** The same, once they are written. */
  said?: () => readonly Finding[];
}

/** What is known of a kind when its files are to be proved. */
export interface Proving {
  wanted: Wanted;
  desired: Desired;
  /** The names of assets that cannot be installed. */
  refused: ReadonlySet<string>;
  /** Undefined: nothing is asked of it. */
  directory: Directory | undefined;
  surroundings: Surroundings;
}

/** A kind whose assets are files of the node, in a target directory of its own. */
export interface FileAssets {
  /** What is desired: reads the new contents of these assets. */
  read: (
    names: readonly string[],
    wanted: Wanted,
    directory: Directory | undefined,
    objections: Objections,
    signal: AbortSignal,
  ) => Promise<Desired>;
  /** Do other options than the list of the kind ask for assets of it? */
  isAsked?: (wanted: Pick<Wanted, "delegate" | "chain" | "unchain">) => boolean;
  /** What a list asks for, if that is more than it names. @param held the names of assets of the kind that are held. */
  listed?: (lists: Lists, held: readonly string[], wanted: Wanted) => Lists;
  /** Refuses a target directory. @param shown its path on the node. @param option names it. @throws Failure `usage` */
  refuseDirectory?: (path: string, shown: string, option: string) => void;
  /** Are the contents texts that a plan shows? */
  isShown: boolean;
  /** Why a file that was there before, and is now at `backup`, must not come back. */
  objectionTo?: (name: string, backup: string, directory: string, view: NodeView) => Promise<string | undefined>;
  /** Keeps assets that are to be removed and are still needed. */
  keep: (decided: Decided[], wanted: Wanted, surroundings: Surroundings) => Kept;
  /** What is to be proved. @param files of this kind that change. */
  changes: (files: readonly Decided[], about: Proving) => Partial<Changes>;
  /** What it means for the node that an installed file is missing. */
  lossMeans: string;
  /** Is it a kubeconfig, whose credentials may run out? */
  isKubeconfig?: (name: string) => boolean;
  /** What installs an asset again, if that is more than its kind and name. @param held the assets of the kind. */
  cure?: (asset: HeldAsset, held: readonly HeldAsset[]) => Pick<CureOfAsset, "name" | "account" | "form">;
}

/** What is left of decisions once some assets are kept. */
export interface Kept {
  decided: Decided[];
  warnings: Finding[];
  /** Assets stay because of containers that may end. */
  isDraining: boolean;
}

/** What is held of an asset, if anything is. */
export function heldAs(held: readonly HeldAsset[], { kind, name }: Asset): HeldAsset | undefined {
  return held.find((asset) => asset.kind === kind && asset.name === name);
}
