/** The examples in documents. */

/** The shell examples of a document, one after the other. */
export function blocksOf(text: string): string {
  return Array.from(text.matchAll(/```sh\n([^]*?)```/gu), ([, block]) => block).join("");
}
