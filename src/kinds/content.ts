/** The new content of a file, which the kinds make. */
import { digestOfLive, type Live } from "../host/inspect.ts";
import type { CatalogueEntry } from "../node/catalogue.ts";
import type { ChainEntry } from "../node/chain-edit.ts";
import type { HeldAsset, SeenFile } from "../host/record.ts";

/** The new content of one file: compared first, and written only where it differs. */
export interface Content {
  /** The mode that the file is to have when this is there now. */
  mode(live: Live): number;
  /** `sha256:…` */
  digest(): Promise<string>;
  /** Does the file that is live need no new content? @param seen what the record says of it, if that may be used. */
  isCurrent(path: string, live: Live, seen: SeenFile | undefined): Promise<boolean>;
  /** Writes it to a new path, durable. Returns its digest. */
  stage(path: string, live: Live): Promise<string>;
  /** It can be made only once the objects of the same run are there: it is staged just before the commit point. */
  isLate?: boolean;
  /** Why it is written again although nobody else has changed it: known once it was compared. */
  renewal?(): string | undefined;
  /** What the catalogue of the image says of it: the content is checked against it when it is staged. */
  entry?: CatalogueEntry | undefined;
  /** For people, where it is text. */
  text?: string;
  /** Is this what is held, even if the digest differs because others have chained their plugins into it? */
  isHeld?(held: HeldAsset): boolean;
  /** What the record says of it, besides its digest. */
  recorded?(): Partial<Pick<HeldAsset, "chain" | "chained" | "account">>;
  /** Of a file of somebody else's: the plugins in it that are ours. Nothing else of it is held. */
  entries?: readonly ChainEntry[];
}

/** Has the live file exactly this content? */
export async function hasBytes(
  digest: () => Promise<string>,
  size: number,
  path: string,
  live: Live,
  seen: SeenFile | undefined,
): Promise<boolean> {
  return live.stat?.size === BigInt(size) && (await digestOfLive(path, live, seen)) === (await digest());
}
