declare module 'virtual:kept-code' {
  /** Where the file of the interpreter's code lies; undefined where the page is not built. */
  export const url: string | undefined
}
