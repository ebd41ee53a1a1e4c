/** The kinds of files, each a module beside this one. */
import type { FileKind } from "../asset.ts";
import { configs } from "./configs.ts";
import { credentials } from "./credentials.ts";
import type { FileAssets } from "./kind.ts";
import { plugins } from "./plugins.ts";

/** What is done with each kind of files. */
export const FILES: Record<FileKind, FileAssets> = { plugin: plugins, credentials, config: configs };
