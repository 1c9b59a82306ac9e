// PCI Local Bus Specification 3.0, "Configuration Space Organization" (type 00h).

export const REGISTER = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION_ID: 0x08,
  CLASS_CODE: 0x09,
  CACHE_LINE_SIZE: 0x0c,
  LATENCY_TIMER: 0x0d,
  BAR0: 0x10,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  CAPABILITIES_POINTER: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
} as const

export const COMMAND = {
  IO_SPACE: 1 << 0,
  MEMORY_SPACE: 1 << 1,
  BUS_MASTER: 1 << 2,
  INTERRUPT_DISABLE: 1 << 10,
} as const

export const STATUS = {
  INTERRUPT: 1 << 3,
  CAPABILITIES_LIST: 1 << 4,
} as const

export const CAPABILITY = { VENDOR: 0x09, MSI_X: 0x11 } as const

export const CONFIG_SIZE = 256
export const BAR_COUNT = 6
export const BAR_IO = 1
