/** A memory balloon: pages asked for and pages given, and the guest's last statistics by tag. */
export interface VirtioBalloonState {
  version: 1
  pages: number
  actual: number
  statistics: [number, number][]
}
