/** A text is not read: why, and where in it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}
