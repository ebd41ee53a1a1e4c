/** Who can have written what lies on a node. Pure. */

/** Why somebody else than root and this user can have written a file; undefined: nobody can. */
export function objectionToOwner({ uid, mode }: { uid: number; mode: number }): string | undefined {
  if (uid !== 0 && uid !== process.geteuid?.()) return `belongs to user ${uid}`;
  if ((mode & 0o022) !== 0) return `can be written to by others (mode ${(mode & 0o7777).toString(8).padStart(4, "0")})`;
  return undefined;
}
