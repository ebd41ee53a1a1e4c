/** Who can have written what lies on a node. Pure. */

/** What lets a group or everybody write to a file. */
const OTHERS_WRITE = 0o022;
/** In such a directory that others may write to, they can neither remove nor replace what is not theirs: a tmpfs. */
const STICKY = 0o1000;

/** May others than the owner write to it? */
export function isWritableByOthers({ mode }: { mode: number }): boolean {
  return (mode & OTHERS_WRITE) !== 0;
}

/** The permissions as chmod takes them: `0644`. */
export function shownMode({ mode }: { mode: number }): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

/**
 * Why somebody else than root and this user can have written a file; undefined: nobody can.
 *
 * @param mayBeSticky a directory that others may write to, if they can replace nothing of others in it.
 */
export function objectionToOwner(
  stat: { uid: number; mode: number },
  { mayBeSticky = false }: { mayBeSticky?: boolean } = {},
): string | undefined {
  if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) return `belongs to user ${stat.uid}`;
  if (mayBeSticky && (stat.mode & STICKY) !== 0) return undefined;
  return isWritableByOthers(stat) ? `can be written to by others (mode ${shownMode(stat)})` : undefined;
}
