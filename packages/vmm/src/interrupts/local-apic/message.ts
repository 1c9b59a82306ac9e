/** Delivery mode of an interrupt message: SDM Vol. 3A, "Interrupt Command Register (ICR)" and "Local Vector Table". */
export type DeliveryMode =
  | 0 // fixed
  | 1 // lowest priority
  | 2 // SMI
  | 3 // reserved
  | 4 // NMI
  | 5 // INIT
  | 6 // start-up
  | 7 // ExtINT

/** A message on the APIC bus. */
export interface ApicMessage {
  /** An APIC ID, or a logical destination. All ones of its width is a broadcast. */
  destination: number
  logical: boolean
  mode: DeliveryMode
  vector: number
  level: boolean
  /** The destination has 32 bits (x2APIC) instead of 8. */
  wide?: boolean
}
