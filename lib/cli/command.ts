/** What a command may touch of the world around it. */
export interface CommandContext {
  /** Aborts when the person at the terminal, or the system, asks the program to end. */
  readonly signal: AbortSignal;
  /** The result. */
  out(text: string): void;
  /** What is under way, and what went wrong. */
  err(text: string): void;
}

/** One word after `vhost-net`. */
export interface Command {
  readonly help: string;
  /** Resolves to the exit status: 0 well, 1 not, 2 wrong usage. */
  run(args: readonly string[], context: CommandContext): Promise<number>;
}
