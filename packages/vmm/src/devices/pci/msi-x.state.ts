/** The vectors' table, four words each, and which are pending. */
export interface MsiXState {
  version: 1
  table: number[]
  pending: number[]
}
