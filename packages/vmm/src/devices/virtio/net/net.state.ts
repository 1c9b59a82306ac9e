/** A network device holds no frames; those that wait are at the other end of its link. */
export interface VirtioNetState {
  version: 1
  linkUp: boolean
}
