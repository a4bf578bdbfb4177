/** How the messages of a protocol are told apart in a stream of bytes. */
export interface Framing {
  /** Bytes that every message begins with. */
  readonly headerSize: number;
  /** Bytes that may follow a header. */
  readonly maxPayload: number;
  /** Descriptors that may come with a message. */
  readonly maxDescriptors: number;
  /** How many bytes follow this header. */
  payloadSize(header: Uint8Array): number;
}

/** One message as it came. */
export interface Message {
  /** Header and payload. */
  readonly bytes: Uint8Array;
  /** The receiver's from now on, who closes them. */
  readonly fds: readonly number[];
}
