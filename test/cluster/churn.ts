/** Pods that come and go, to see whether each of them starts and ends. */
import { until } from "../helpers/node.ts";
import type { KubernetesNode } from "./node.ts";

/** So many pods are started, and have ended, at a time. */
const PODS = 5;
/** No such round takes longer, milliseconds: it waits twice, for 90 seconds at most. */
const LONGEST_ROUND = 300_000;

/** Starts some pods, and deletes them as soon as they are ready, again and again until it is told to end. */
export class Churn implements AsyncDisposable {
  readonly #node: KubernetesNode;
  readonly #image: string;
  readonly #work: Promise<void>;
  readonly #failures: string[] = [];
  #pods = 0;
  #isOver = false;

  /**
   * @param image of which sleep is a command. @param annotations of the pods.
   * @param ready what ready pods must be, too.
   */
  constructor(
    node: KubernetesNode,
    image: string,
    annotations: Record<string, string> = {},
    ready = async (_names: readonly string[]): Promise<void> => undefined,
  ) {
    this.#node = node;
    this.#image = image;
    this.#work = this.#go(annotations, ready);
  }

  /** Waits for so many more pods. */
  async until(more: number): Promise<void> {
    const goal = this.#pods + more;
    while (this.#pods < goal && this.#failures.length === 0) {
      const before = this.#pods;
      await until(() => this.#pods > before || this.#failures.length > 0, LONGEST_ROUND);
    }
  }

  /** Ends it. What the kubelet could not start or stop at the first try counts as a failure, too. */
  async end(): Promise<{ pods: number; failures: string[] }> {
    this.#isOver = true;
    await this.#work;
    const events = await this.#node.ask(
      "get",
      "events",
      "-o",
      'jsonpath={range .items[?(@.type=="Warning")]}{.involvedObject.name} {.reason}: {.message}{"\\n"}{end}',
    );
    const warnings = events.split("\n").filter((line) => /^churn-\S+ Failed/u.test(line));
    return { pods: this.#pods, failures: [...this.#failures, ...warnings] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#work;
  }

  async #go(annotations: Record<string, string>, ready: (names: readonly string[]) => Promise<void>): Promise<void> {
    for (let round = 0; !this.#isOver; round++) {
      const names = Array.from({ length: PODS }, (_, index) => `churn-${round}-${index}`);
      const items = names.map((name) => this.#pod(name, annotations));
      try {
        const list = JSON.stringify({ apiVersion: "v1", kind: "List", items });
        const { exitCode, stderr } = await this.#node.kubectl(["create", "--validate=false", "-f", "-"], list);
        if (exitCode !== 0) throw new Error(stderr);
        const pods = names.map((name) => `pod/${name}`);
        await this.#node.ask("wait", "--for=condition=Ready", ...pods, "--timeout=90s");
        await ready(names);
        await this.#node.ask("delete", ...pods, "--wait", "--timeout=90s");
        this.#pods += PODS;
      } catch (error) {
        this.#failures.push(String(error));
        return;
      }
    }
  }

  #pod(name: string, annotations: Record<string, string>): object {
    const container = { name: "main", image: this.#image, imagePullPolicy: "Never", command: ["sleep", "100000"] };
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, annotations },
      spec: { terminationGracePeriodSeconds: 0, containers: [container] },
    };
  }
}
