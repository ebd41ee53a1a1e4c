/** Who holds an asset. Pure. */
import { Failure } from "../errors.ts";
import type { HeldAsset } from "../host/record.ts";

/** What the owners of an installed asset are decided upon. */
export interface OwnerFacts {
  /** What is installed, for messages. */
  path: string;
  owner: string;
  takeOver: boolean;
  held: HeldAsset | undefined;
  /** What the record says is there is the wanted content. */
  sameAsHeld: boolean;
}

/** Who holds an asset once this owner has installed it. @throws Failure `held-by-other`. */
export function ownersAfter({ path, held, owner, sameAsHeld, takeOver }: OwnerFacts): string[] {
  const others = held?.owners.filter((other) => other !== owner) ?? [];
  if (others.length > 0 && !sameAsHeld && !takeOver) throw heldByOther(path, others);
  return [...(sameAsHeld ? others : []), owner].toSorted();
}

/** Why an asset stays when this owner no longer wants it. */
export function heldReason({ owners }: HeldAsset, others: readonly string[]): string {
  return `${others.length === owners.length ? "held" : "also held"} by ${others.join(", ")}`;
}

function heldByOther(path: string, others: readonly string[]): Failure {
  return new Failure({
    code: "held-by-other",
    subject: path,
    problem: `cannot be installed: ${others.join(", ")} holds it with other content`,
    hint: "give the same version to both, or take it over with --take-over",
  });
}
