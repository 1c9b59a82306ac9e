// NBD, "Values".

/** Numbers of 64 bits are given as their two halves. */
export const MAGIC = {
  server: [0x4e42_444d, 0x4147_4943],
  option: [0x4948_4156, 0x454f_5054],
  optionReply: [0x0003_e889, 0x0455_65a9],
  request: 0x2560_9513,
  simpleReply: 0x6744_6698,
} as const

export const HANDSHAKE_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const
export const OPTION = { exportName: 1, go: 7 } as const
export const REPLY = { ack: 1, info: 3 } as const
export const INFO = { export: 0, blockSize: 3 } as const

/** `NBD_REP_ERR_*`, with what it means to who asked. */
export const OPTION_ERRORS: Readonly<Record<number, string>> = {
  2147483649: 'it does not know NBD_OPT_GO',
  2147483650: 'it is not allowed',
  2147483651: 'it takes the request for invalid',
  2147483652: 'it is not supported on its platform',
  2147483653: 'it wants TLS',
  2147483654: 'there is no such export',
  2147483655: 'it is shutting down',
  2147483656: 'it wants to agree on block sizes',
  2147483657: 'the request is too large',
}
export const ERROR_UNSUPPORTED = 0x8000_0001

export const EXPORT_FLAG = { readOnly: 2, flush: 4, trim: 32, writeZeroes: 64 } as const

export const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const
export const COMMAND_FLAG = { noHole: 2 } as const

export const ERROR_NO_SPACE = 28
export const ERROR_NOT_PERMITTED = 1
