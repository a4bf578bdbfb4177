/** What testpmd prints once it forwards. */
export const TESTPMD_READY = /packet forwarding - ports=/;
