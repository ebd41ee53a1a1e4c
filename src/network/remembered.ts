/** The attachments that are remembered on this node, for people. */
import { pickAttachments, listAttachments, type AttachmentKey, type CachedAttachment } from "../cni/cache.ts";
import { CniError } from "../cni/error.ts";
import { Failure, hintFor } from "../errors.ts";
import { isIdOf } from "../system/text.ts";

/**
 * The attachments in the cache. What is damaged, and what others may have written, is left out.
 *
 * @param isMeant only those.
 * @param onProblem is told of every file that was left out.
 * @throws Failure when the cache cannot be read, holds too much, or others may write to it.
 */
export function remembered(
  cacheDir: string,
  isMeant: (attachment: CachedAttachment) => boolean = () => true,
  onProblem: (problem: Failure) => void = () => undefined,
): CachedAttachment[] {
  return asFailure(cacheDir, () => listAttachments(cacheDir, { isMeant, onProblem }));
}

/** What `pick` makes of each of them: a cache may be large. @throws Failure as `remembered`. */
export function pickRemembered<T>(
  cacheDir: string,
  pick: (attachment: CachedAttachment) => T,
  onProblem: (problem: Failure) => void,
): T[] {
  return asFailure(cacheDir, () => pickAttachments(cacheDir, pick, { onProblem }));
}

/** Those of a container to a network. @throws Failure as `remembered`. */
export function attachmentsOf(
  networkName: string,
  containerId: string,
  cacheDir: string,
  onProblem: (problem: Failure) => void = () => undefined,
): CachedAttachment[] {
  const isMeant = (one: CachedAttachment): boolean =>
    one.networkName === networkName && one.containerId === containerId;
  const prefix = `${networkName}-${containerId}-`;
  return asFailure(cacheDir, () => listAttachments(cacheDir, { isMeant, prefix, onProblem }));
}

/**
 * The whole container ID, which may be given as people see it; what is given where nothing is remembered of such a one.
 *
 * @param network less than a whole ID means a container of this network only.
 * @throws Failure `attachment-ambiguous`; those of `remembered`.
 */
export function wholeId(given: string, cacheDir: string, network?: string): string {
  const isMeant = ({ containerId: id }: CachedAttachment): boolean => isIdOf(given, id);
  const found = asFailure(cacheDir, () => listAttachments(cacheDir, { isMeant, part: `-${given}` }));
  if (found.some(({ containerId }) => containerId === given)) return given;
  const ofNetwork = found.filter(({ networkName }) => network === undefined || networkName === network);
  const ids = new Set(ofNetwork.map(({ containerId }) => containerId));
  const [id = given, another] = ids;
  if (another === undefined) return id;
  throw new Failure({
    code: "attachment-ambiguous",
    subject: given,
    problem: `more than one container ID begins so: ${[...ids].join(", ")}`,
    hint: "give more of it",
  });
}

/** Those of a container, to whatever networks. @throws Failure as `remembered`. */
export function attachmentsOfContainer(
  containerId: string,
  cacheDir: string,
  onProblem: (problem: Failure) => void,
): CachedAttachment[] {
  const isMeant = (one: CachedAttachment): boolean => one.containerId === containerId;
  return asFailure(cacheDir, () => listAttachments(cacheDir, { isMeant, part: `-${containerId}-`, onProblem }));
}

/** One of them; undefined: it is not remembered any more. @throws Failure as `remembered`. */
export function rememberedAgain(key: AttachmentKey, cacheDir: string): CachedAttachment | undefined {
  return attachmentsOf(key.networkName, key.containerId, cacheDir).find(({ ifName }) => ifName === key.ifName);
}

function asFailure<T>(cacheDir: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof CniError ? cacheFailure(cacheDir, error) : error;
  }
}

function cacheFailure(cacheDir: string, error: CniError): Failure {
  if (error.cause instanceof Failure) return error.cause;
  const hint = hintFor(error.cause) ?? "--cache-dir says where attachments are remembered";
  return new Failure({ code: "cni-io-failure", subject: cacheDir, problem: error.msg, hint, cause: error });
}
