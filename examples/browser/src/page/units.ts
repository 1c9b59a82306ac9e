export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** Minutes and seconds, as in 1:05. */
export function clockTime(nanoseconds: number): string {
  const seconds = Math.floor(nanoseconds / 1e9)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}
