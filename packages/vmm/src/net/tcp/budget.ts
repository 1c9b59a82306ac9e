/** Memory that all connections share. What one has been granted it keeps until it closes. */
export class Budget {
  #left: number
  constructor(bytes: number) {
    this.#left = bytes
  }

  /** Whether `bytes` more were granted. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false
    this.#left -= bytes
    return true
  }

  give(bytes: number): void {
    this.#left += bytes
  }
}
