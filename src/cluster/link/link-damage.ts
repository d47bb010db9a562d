/**
 * What decoders throw for bytes that no node of ours can have sent: the connection they came over is
 * ended, and so is the link session. Says what is wrong, never the bytes themselves.
 */
export class LinkDamage extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'LinkDamage';
  }
}
