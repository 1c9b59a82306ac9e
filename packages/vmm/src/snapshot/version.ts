import { SnapshotVersionError } from '../errors.ts'

/** A part that can be saved and restored; `State` is a plain, versioned record. */
export interface Saveable<State extends { version: number }> {
  save(): State
  restore(state: State): void
}

/** Refuses a record of an unknown version. */
export function expectVersion(part: string, state: { version: number }, known: number): void {
  if (state.version !== known) throw new SnapshotVersionError(part, state.version, known)
}
