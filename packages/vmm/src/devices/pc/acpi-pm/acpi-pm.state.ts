/** The ACPI fixed hardware. */
export interface AcpiPmState {
  version: 1
  status: number
  enable: number
  control: number
  carryCount: number
}
