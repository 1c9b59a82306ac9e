import { TypevisorError } from '../errors.ts'

/** An egress policy that cannot be kept, since an entry of it is not understood. */
export class PolicyError extends TypevisorError {
  /** The entry, as it was given. */
  readonly entry: string
  constructor(code: 'TV_POLICY_ENTRY' | 'TV_POLICY_FORMAT', entry: string, message: string) {
    super(code, message)
    this.entry = entry
  }
}

/** A network that cannot be set up as asked. */
export class NetworkError extends TypevisorError {
  constructor(
    code:
      | 'TV_NETWORK_ADDRESS'
      | 'TV_NETWORK_FORWARD'
      | 'TV_NETWORK_PORT_IN_USE'
      | 'TV_NETWORK_LIMIT'
      | 'TV_NETWORK_CAPTURE',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(code, message, options)
  }
}
