/** Takes a step back after something failed: what failed first is told, not what fails on the way back. */
export function undo(step: () => void): void {
  try {
    step();
  } catch {
    // Nothing better can be done than to go on with the other steps.
  }
}
