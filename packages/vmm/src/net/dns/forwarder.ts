import { keep } from '../frame.ts'
import type { Pins } from '../policy/pins.ts'
import type { PolicyRules } from '../policy/policy.ts'
import {
  answers,
  answerWithCode,
  capTtls,
  HEADER,
  isResponse,
  opcodeOf,
  type Question,
  RCODE_FAILURE,
  RCODE_FORMAT,
  RCODE_NO_NAME,
  RCODE_NOT_IMPLEMENTED,
  readAddresses,
  readQuestion,
  truncate,
  udpLimit,
} from './message.ts'

/** Queries on their way at once, of all guests. */
const IN_FLIGHT_LIMIT = 64
/** What a fragmented datagram over our link may have. */
const UDP_ANSWER_LIMIT = 4096
/** An address is pinned at least so long, for guests that look up first and connect later; in seconds. */
const SHORTEST_PIN = 60
const LONGEST_PIN = 3600
/** And a little longer than the guest is told, who learns of it later than we. */
const GRACE = 30

/**
 * The guests' DNS server: asks the host's resolver, for names that the policy allows. What it answers is what later
 * connections are held against, so it pins the addresses, and tells no TTL that is longer than the pin.
 */
export class DnsForwarder {
  readonly #resolve: (query: Uint8Array) => Promise<Uint8Array>
  readonly #policy: () => PolicyRules
  readonly #pins: Pins
  #inFlight = 0

  constructor(options: {
    resolve: (query: Uint8Array) => Promise<Uint8Array>
    policy: () => PolicyRules
    pins: Pins
  }) {
    this.#resolve = options.resolve
    this.#policy = options.policy
    this.#pins = options.pins
  }

  /** The answer to a query; none, when it is not even one. */
  async answer(query: Uint8Array, transport: 'udp' | 'tcp'): Promise<Uint8Array | undefined> {
    if (query.length < HEADER || isResponse(query)) return undefined
    if (opcodeOf(query) !== 0) return answerWithCode(query, undefined, RCODE_NOT_IMPLEMENTED)
    const question = readQuestion(query)
    if (!question) return answerWithCode(query, undefined, RCODE_FORMAT)
    const answer = await this.#ask(query, question)
    const limit = Math.min(udpLimit(query, question), UDP_ANSWER_LIMIT)
    return transport === 'udp' && answer.length > limit ? truncate(answer, question) : answer
  }

  async #ask(query: Uint8Array, question: Question): Promise<Uint8Array> {
    const policy = this.#policy()
    const allowed = policy.allowsName(question.name)
    // A denied name is looked up all the same where the rest is allowed: its addresses have to be known, to be denied.
    if (!allowed && !policy.allowsByDefault) return answerWithCode(query, question, RCODE_NO_NAME)
    const answer = await this.#forward(query, question)
    if (!answer) return answerWithCode(query, question, RCODE_FAILURE)
    for (const { address, ttl } of readAddresses(answer, question)) {
      const seconds = Math.min(Math.max(ttl, SHORTEST_PIN), LONGEST_PIN) + GRACE
      this.#pins.add(address, question.name, seconds)
    }
    capTtls(answer, question, LONGEST_PIN)
    return allowed ? answer : answerWithCode(query, question, RCODE_NO_NAME)
  }

  async #forward(query: Uint8Array, question: Question): Promise<Uint8Array | undefined> {
    if (this.#inFlight >= IN_FLIGHT_LIMIT) return undefined
    this.#inFlight++
    try {
      const answer = keep(await this.#resolve(query))
      return answers(answer, query, question) ? answer : undefined
    } catch {
      return undefined // the guest is told SERVFAIL
    } finally {
      this.#inFlight--
    }
  }
}
