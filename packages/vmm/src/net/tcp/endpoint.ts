/**
 * The NAT's end of one TCP connection with a guest: RFC 9293, with RFC 7323's window scale, RFC 6298's timer, RFC 5681's
 * and RFC 6582's recovery, and RFC 5961's answers to blind attacks. Beyond it is a stream of the host's, so a
 * connection is two, joined by their windows:
 *
 *     guest ──segments──▶ ReceiveQueue ──write──▶ stream     window = what the stream may still hold
 *     guest ◀──segments── SendQueue ◀────data──── stream     pause, while the guest has not acknowledged
 *
 * The states of RFC 9293 after the handshake are three facts here: our FIN was acknowledged, the guest's FIN came, and
 * which was first.
 *
 *     opening ──connected──▶ syn-received ──ACK──▶ open ──both FINs──▶ time-wait ──▶ closed
 *     (guest's SYN)          syn-sent ───SYN,ACK───┘ (forwarded port)
 *
 * There is no network between the two, but a ring: it does not lose, it is full. So there is no slow start until
 * something was lost after all (in a switch); a segment is as large as the guest's driver takes (64 KiB, cut up by nobody)
 * and what the ring refuses is offered again when it has room. What must be said is written down as flags and said
 * by `pump`, so that nothing queues up.
 *
 * Bursts: `deliver` only notes; `flush`, after the burst, gives the stream what was gathered and acknowledges once.
 */

import { formatIp, type Ip } from '../addresses.ts'
import { Alarm, type Alarms, MILLISECOND, SECOND } from '../alarms.ts'
import type { Frame } from '../frame.ts'
import type { ByteStream, Endpoint, StreamFailure, StreamHandler } from '../host-network.ts'
import { ACK, FIN, PSH, RST, SYN, type TcpHeader, type TcpOptions } from '../packet/tcp.ts'
import type { Budget } from './budget.ts'
import type { ChunkPool } from './chunk-pool.ts'
import { ReceiveQueue } from './receive-queue.ts'
import { RoundTrip } from './round-trip.ts'
import { SendQueue } from './send-queue.ts'
import { advance, distance } from './sequence.ts'

export interface SocketAddress {
  readonly address: Ip
  readonly port: number
}

export interface OutgoingSegment {
  readonly sequence: number
  readonly acknowledgment: number
  readonly flags: number
  readonly window: number
  readonly options?: TcpOptions
  readonly parts: readonly Uint8Array[]
  readonly length: number
  readonly segmentSize: number
}

/** What an endpoint has around it. */
export interface TcpSurroundings {
  readonly alarms: Alarms
  readonly pool: ChunkPool
  readonly budget: Budget
  /** False: the link has no room; `pump` is called when it has. */
  send(endpoint: TcpEndpoint, segment: OutgoingSegment): boolean
  /** The largest payload that one `send` takes, for segments of `segmentSize`. */
  largestSend(endpoint: TcpEndpoint, segmentSize: number): number
  /** Asks for `flush` after the burst. */
  touch(endpoint: TcpEndpoint): void
  closed(endpoint: TcpEndpoint): void
  /** The host could not make the connection. */
  refused(endpoint: TcpEndpoint, reason: StreamFailure): void
}

export interface TcpConnectionState {
  readonly guest: Endpoint
  readonly peer: Endpoint
  /** What a reset has to carry so that the guest believes it. */
  readonly sequence: number
  readonly acknowledgment: number
}

type Phase = 'opening' | 'syn-received' | 'syn-sent' | 'open' | 'time-wait' | 'closed'

const RECEIVE_SHIFT = 6
/** RFC 9293: what is assumed of a peer that does not say. */
const DEFAULT_MSS = 536
/** A guest that says less would make us send header after header. */
const SMALLEST_MSS = 256
const FIRST_WINDOW = 0x1_0000
const WINDOW_LIMIT = 0x10_0000
/** A window without scaling. */
const UNSCALED_LIMIT = 0xffff

const DELAYED_ACK = 10 * MILLISECOND
const OPEN_TIMEOUT = 75 * SECOND
const TIME_WAIT = 5 * SECOND
const KEEPALIVE_IDLE = 600 * SECOND
const KEEPALIVE_INTERVAL = 30 * SECOND
const KEEPALIVE_PROBES = 4
const SYN_RETRIES = 5
const RETRIES = 10
const DUPLICATES = 3

const NO_PARTS: readonly Uint8Array[] = []

export class TcpEndpoint implements StreamHandler {
  readonly guest: SocketAddress
  readonly peer: SocketAddress
  readonly #around: TcpSurroundings
  readonly #ownMss: number
  readonly #send = new SendQueue()
  readonly #roundTrip = new RoundTrip()
  readonly #retransmit = new Alarm(() => this.#onRetransmit())
  readonly #delayedAck = new Alarm(() => this.#acknowledge())
  readonly #idle = new Alarm(() => this.#onIdle())
  #phase: Phase = 'opening'
  #stream!: ByteStream
  #receive!: ReceiveQueue
  #streamPaused = false

  #una: number
  #next: number
  #maximum: number
  #window = 0
  #windowSequence = 0
  #windowAcknowledgment = 0
  #sendShift = 0
  #mss = DEFAULT_MSS
  #sendLimit = FIRST_WINDOW
  #sendMoved = 0
  #finQueued = false
  #finAcknowledged = false

  #congestion = Infinity
  #threshold = Infinity
  #duplicates = 0
  #recover: number | undefined
  #retries = 0

  #expected = 0
  #edge = 0
  #receiveShift = 0
  #receiveLimit = FIRST_WINDOW
  #receiveMoved = 0
  #unacknowledged = 0
  #acknowledgeNow = false
  #guestEnded = false
  #guestEndedFirst = false
  #scaled = false

  #heard = 0
  #probes = 0
  #pumping = false

  constructor(
    around: TcpSurroundings,
    guest: SocketAddress,
    peer: SocketAddress,
    { initialSequence, mss }: { initialSequence: number; mss: number },
  ) {
    this.#around = around
    this.guest = guest
    this.peer = peer
    this.#ownMss = mss
    this.#una = this.#next = this.#maximum = initialSequence
  }

  get phase(): Phase {
    return this.#phase
  }

  /** The guest's SYN: asks the host for a stream, and answers when there is one. */
  openFromGuest(header: TcpHeader, options: TcpOptions, open: (handler: StreamHandler) => ByteStream): void {
    this.#takeSyn(header, options)
    this.#setStream(open(this))
    this.#around.alarms.set(this.#idle, OPEN_TIMEOUT)
  }

  /** Someone connected to a forwarded port: sends a SYN. */
  openToGuest(open: (handler: StreamHandler) => ByteStream): void {
    this.#phase = 'syn-sent'
    this.#setStream(open(this))
    this.#streamPaused = true
    this.#sendSyn()
  }

  /** A SYN may find its guest only now. */
  retrySyn(): void {
    if (this.#phase === 'syn-sent') this.#sendSyn()
  }

  save(): TcpConnectionState {
    const text = ({ address, port }: SocketAddress) => ({ address: formatIp(address), port })
    return {
      guest: text(this.guest),
      peer: text(this.peer),
      sequence: this.#next,
      acknowledgment: this.#expected,
    }
  }

  #setStream(stream: ByteStream): void {
    this.#stream = stream
    this.#receive = new ReceiveQueue(this.#around.pool, stream, () => this.#onReleased())
  }

  // The host's side.

  connected(): void {
    if (this.#phase !== 'opening') return
    this.#phase = 'syn-received'
    this.#sendSyn()
  }

  data(bytes: Uint8Array): void {
    if (this.#phase === 'closed' || this.#finQueued) return
    this.#send.push(bytes)
    if (!this.#streamPaused && this.#send.cost >= this.#sendLimit) {
      this.#streamPaused = true
      this.#stream.pause()
    }
    this.pump()
  }

  ended(): void {
    if (this.#phase === 'closed') return
    this.#finQueued = true
    this.pump()
  }

  failed(reason: StreamFailure): void {
    if (this.#phase === 'closed') return
    if (this.#phase === 'opening') this.#around.refused(this, reason)
    else if (this.#phase !== 'time-wait') this.#sendReset()
    this.#close()
  }

  closed(): void {
    this.ended()
  }

  /** Ends the connection on both sides at once. */
  abort(): void {
    if (this.#phase === 'closed') return
    if (this.#phase === 'opening') this.#around.refused(this, 'reset')
    else if (this.#phase !== 'time-wait') this.#sendReset()
    this.#stream.reset()
    this.#close()
  }

  /** The guest has reset it. */
  #end(): void {
    this.#stream.reset()
    this.#close()
  }

  // The guest's side.

  /** A segment whose checksum is right; its payload lies at `offset` in the frame. */
  deliver(header: TcpHeader, options: () => TcpOptions, frame: Frame, offset: number, length: number): void {
    this.#heard = this.#around.alarms.now()
    this.#probes = 0
    switch (this.#phase) {
      case 'opening':
        if (header.flags & RST && header.sequence === this.#expected) this.#end()
        return
      case 'syn-sent':
        this.#inSynSent(header, options())
        return
      case 'time-wait':
        if (header.flags & RST) this.#close()
        else this.#acknowledge()
        return
      case 'syn-received':
      case 'open':
        this.#synchronized(header, frame, offset, length)
        return
      case 'closed':
        return
    }
  }

  /** Whether a SYN with this sequence number begins a new connection in place of this one: RFC 9293, "TIME-WAIT". */
  yieldsTo(header: TcpHeader): boolean {
    if (this.#phase !== 'time-wait' || distance(header.sequence, this.#expected) < 0) return false
    this.#close()
    return true
  }

  #takeSyn(header: TcpHeader, options: TcpOptions): void {
    this.#expected = this.#edge = this.#receiveMoved = advance(header.sequence, 1)
    this.#mss = Math.max(Math.min(options.maximumSegmentSize ?? DEFAULT_MSS, this.#ownMss), SMALLEST_MSS)
    this.#scaled = options.windowScale !== undefined
    this.#sendShift = options.windowScale ?? 0
    this.#receiveShift = this.#scaled ? RECEIVE_SHIFT : 0
    this.#window = header.window
    this.#windowSequence = header.sequence
    this.#heard = this.#around.alarms.now()
  }

  #inSynSent(header: TcpHeader, options: TcpOptions): void {
    const acceptable = (header.flags & ACK) !== 0 && header.acknowledgment === this.#maximum
    if (!acceptable) return
    if (header.flags & RST) {
      this.#end()
    } else if (header.flags & SYN) {
      this.#takeSyn(header, options)
      this.#una = this.#next = header.acknowledgment
      this.#begin(header)
      this.#acknowledge()
      this.#resumeStream()
      this.pump()
    }
  }

  #begin(header: TcpHeader): void {
    this.#phase = 'open'
    this.#retries = 0
    this.#roundTrip.acknowledged(header.acknowledgment, this.#around.alarms.now())
    this.#windowAcknowledgment = header.acknowledgment
    this.#around.alarms.clear(this.#retransmit)
    this.#around.alarms.set(this.#idle, KEEPALIVE_IDLE)
  }

  #synchronized(header: TcpHeader, frame: Frame, offset: number, length: number): void {
    const { flags } = header
    if (!this.#isAcceptable(header, length)) {
      if (!(flags & RST)) this.#acknowledge()
      return
    }
    if (flags & RST) {
      if (header.sequence !== this.#expected) return this.#acknowledge()
      return this.#end()
    }
    if (flags & SYN) return this.#onRepeatedSyn(header)
    if (!(flags & ACK) || !this.#onAcknowledgment(header, length)) return
    if (length > 0 || flags & FIN) this.#onPayload(header, frame, offset, length)
    this.pump()
  }

  #onRepeatedSyn(header: TcpHeader): void {
    if (this.#phase === 'syn-received' && advance(header.sequence, 1) === this.#expected) this.#sendSyn()
    else this.#acknowledge()
  }

  /** RFC 9293, "SEGMENT ARRIVES", "First, check sequence number". */
  #isAcceptable({ sequence, flags }: TcpHeader, length: number): boolean {
    const window = distance(this.#edge, this.#expected)
    const start = distance(sequence, this.#expected)
    const total = length + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0)
    if (flags & SYN && this.#phase === 'syn-received' && start === -1) return true
    if (total === 0 || window === 0) return start === 0 || (start > 0 && start < window)
    return start < window && start + total > 0
  }

  /** False when the rest of the segment is not to be looked at. */
  #onAcknowledgment(header: TcpHeader, length: number): boolean {
    const { acknowledgment } = header
    if (distance(acknowledgment, this.#maximum) > 0) {
      this.#acknowledge()
      return false
    }
    if (this.#phase === 'syn-received') {
      if (acknowledgment !== this.#maximum) return false
      this.#una = this.#next = acknowledgment
      this.#begin(header)
    }
    const window = header.window << this.#sendShift
    const advanced = distance(acknowledgment, this.#una)
    if (advanced > 0) this.#onAdvance(acknowledgment, advanced)
    else if (advanced === 0 && length === 0 && window === this.#window && !(header.flags & FIN)) {
      this.#onDuplicate()
    }
    this.#retries = 0
    this.#updateWindow(header, window)
    return this.phase !== 'closed'
  }

  #updateWindow({ sequence, acknowledgment }: TcpHeader, window: number): void {
    const newer = distance(sequence, this.#windowSequence)
    const later = distance(acknowledgment, this.#windowAcknowledgment)
    if (newer < 0 || (newer === 0 && later < 0)) return
    this.#window = window
    this.#windowSequence = sequence
    this.#windowAcknowledgment = acknowledgment
  }

  #onAdvance(acknowledgment: number, count: number): void {
    const bytes = Math.min(count, this.#send.length)
    if (count > bytes) this.#finAcknowledged = true
    this.#send.drop(bytes)
    this.#una = acknowledgment
    if (distance(this.#next, acknowledgment) < 0) this.#next = acknowledgment
    this.#roundTrip.acknowledged(acknowledgment, this.#around.alarms.now())
    this.#openCongestionWindow(bytes)
    this.#recoverFurther(acknowledgment)
    if (this.#inFlight > 0) this.#armRetransmit()
    else this.#around.alarms.clear(this.#retransmit)
    this.#onSendMoved(bytes)
    this.#endIfDone()
  }

  /** RFC 6582: a partial acknowledgment tells of the next loss. */
  #recoverFurther(acknowledgment: number): void {
    this.#duplicates = 0
    if (this.#recover === undefined) return
    if (distance(acknowledgment, this.#recover) >= 0) this.#recover = undefined
    else this.#resendFirst()
  }

  #openCongestionWindow(bytes: number): void {
    if (this.#congestion === Infinity) return
    this.#congestion +=
      this.#congestion < this.#threshold ? bytes : Math.max(1, (this.#mss * bytes) / this.#congestion)
    if (this.#congestion > 4 * WINDOW_LIMIT) this.#congestion = Infinity
  }

  #onDuplicate(): void {
    if (this.#inFlight === 0 || ++this.#duplicates !== DUPLICATES || this.#recover !== undefined) return
    this.#recover = this.#maximum
    this.#threshold = this.#congestion = Math.max(this.#inFlight / 2, 2 * this.#mss)
    this.#resendFirst()
  }

  #onSendMoved(bytes: number): void {
    this.#sendMoved += bytes
    if (this.#sendMoved >= 2 * this.#sendLimit && this.#sendLimit < WINDOW_LIMIT) {
      this.#sendMoved = 0
      if (this.#around.budget.take(this.#sendLimit)) this.#sendLimit *= 2
    }
    if (this.#send.cost <= this.#sendLimit / 2) this.#resumeStream()
  }

  #resumeStream(): void {
    if (!this.#streamPaused) return
    this.#streamPaused = false
    this.#stream.resume()
  }

  #onPayload(header: TcpHeader, frame: Frame, offset: number, length: number): void {
    const skip = Math.max(0, -distance(header.sequence, this.#expected))
    const sequence = advance(header.sequence, skip)
    const room = distance(this.#edge, sequence)
    const count = Math.min(length - skip, room)
    const whole = count === length - skip
    if (count < 0 || this.#guestEnded) return this.#acknowledge()
    if (sequence !== this.#expected) {
      if (count > 0) this.#receive.keepEarly(sequence, frame, offset + skip, count, this.#receiveLimit)
      return this.#acknowledge()
    }
    this.#receive.append(frame, offset + skip, count)
    this.#expected = advance(this.#expected, count)
    this.#unacknowledged += count
    if (this.#receive.hasEarly) {
      this.#expected = this.#receive.takeEarly(this.#expected)
      this.#acknowledgeNow = true
    }
    if (header.flags & FIN && whole && this.#expected === advance(sequence, count)) this.#onFin()
    if (!whole || this.#unacknowledged >= this.#receiveLimit / 4) this.#acknowledge()
    this.#around.touch(this)
  }

  #onFin(): void {
    this.#guestEnded = true
    this.#guestEndedFirst = !this.#finAcknowledged && this.#inFlight <= this.#send.length
    this.#expected = advance(this.#expected, 1)
    if (distance(this.#edge, this.#expected) < 0) this.#edge = this.#expected
    this.#receive.flush(true)
    this.#stream.end()
    this.#acknowledge()
    this.#endIfDone()
  }

  /** After a burst: what came goes to the stream, and is acknowledged. */
  flush(): void {
    if (this.#phase === 'closed' || this.#phase === 'opening') return
    this.#receive.flush()
    if (this.#acknowledgeNow || this.#unacknowledged >= 2 * this.#mss) this.#acknowledge()
    else if (this.#unacknowledged > 0 && this.#delayedAck.due === Infinity) {
      this.#around.alarms.set(this.#delayedAck, DELAYED_ACK)
    }
  }

  #onReleased(): void {
    if (this.#phase === 'closed') return
    const opened = distance(advance(this.#expected, this.#room()), this.#edge)
    if (opened >= Math.max(this.#receiveLimit / 4, this.#mss)) {
      this.#growReceiveLimit()
      this.#acknowledgeNow = true
      this.#around.touch(this)
    }
  }

  #growReceiveLimit(): void {
    const moved = distance(this.#expected, this.#receiveMoved)
    const limit = this.#scaled ? WINDOW_LIMIT : FIRST_WINDOW
    if (moved < 2 * this.#receiveLimit || this.#receiveLimit >= limit) return
    this.#receiveMoved = this.#expected
    if (this.#around.budget.take(this.#receiveLimit)) this.#receiveLimit *= 2
  }

  /** Bytes that the stream may still hold. */
  #room(): number {
    return Math.max(0, this.#receiveLimit - this.#receive.pending)
  }

  /** The window to advertise; its right edge never moves back. */
  #advertise(): number {
    const room = (this.#room() >> this.#receiveShift) << this.#receiveShift
    const edge = advance(this.#expected, room)
    if (distance(edge, this.#edge) > 0) this.#edge = edge
    return Math.min(distance(this.#edge, this.#expected) >> this.#receiveShift, UNSCALED_LIMIT)
  }

  // Sending.

  get #inFlight(): number {
    return distance(this.#maximum, this.#una)
  }

  /** Sends what may be sent. Also called when the link has room again. */
  pump(): void {
    // A guest may answer while a segment is being delivered: the answer is heard, the loop here goes on.
    if (this.#phase === 'closed' || this.#pumping) return
    this.#pumping = true
    while (this.phase === 'open' && this.#sendNext());
    this.#pumping = false
    if (this.#acknowledgeNow) this.#acknowledge()
    this.#guardWindow()
  }

  #sendNext(): boolean {
    const sent = distance(this.#next, this.#una)
    const available = this.#send.length - sent
    if (available < 0) return false // the FIN is out
    const usable = Math.min(this.#window, this.#congestion) - sent
    const largest = this.#around.largestSend(this, this.#mss)
    const count = Math.min(available, Math.max(0, usable), largest)
    const end = this.#finQueued && count === available && usable > count && !this.#finAcknowledged
    if (count === 0 && !end) return false
    // Silly windows: RFC 9293, "Sender's Algorithm -- When to Send Data".
    if (count < Math.min(available, this.#mss) && this.#inFlight > 0) return false
    if (!this.#advanceAndTransmit(count, end)) return false
    if (this.#inFlight > 0 && this.#retransmit.due === Infinity) this.#armRetransmit()
    return true
  }

  /** What is on the way is known before it is sent: the acknowledgment may come from within. */
  #advanceAndTransmit(count: number, end: boolean): boolean {
    const first = this.#next
    const maximum = this.#maximum
    const parts: Uint8Array[] = []
    const offset = distance(first, this.#una)
    if (count > 0) this.#send.slice(offset, count, parts)
    const flags = flagsFor(end, count > 0 && offset + count === this.#send.length)
    this.#next = advance(first, count + (end ? 1 : 0))
    if (distance(this.#next, maximum) > 0) {
      this.#maximum = this.#next
      this.#roundTrip.start(this.#next, this.#around.alarms.now())
    }
    if (this.#emit(first, flags, parts, count)) return true
    this.#next = first
    this.#maximum = maximum
    return false
  }

  #armRetransmit(): void {
    this.#around.alarms.set(this.#retransmit, this.#roundTrip.timeout)
  }

  #emit(sequence: number, flags: number, parts: readonly Uint8Array[], length: number): boolean {
    const sent = this.#around.send(this, {
      sequence,
      acknowledgment: this.#expected,
      flags,
      window: this.#advertise(),
      parts,
      length,
      segmentSize: this.#mss,
    })
    if (!sent) return false
    this.#unacknowledged = 0
    this.#acknowledgeNow = false
    this.#around.alarms.clear(this.#delayedAck)
    return true
  }

  #acknowledge(): void {
    this.#acknowledgeNow = !this.#emit(this.#next, ACK, NO_PARTS, 0)
  }

  #resendFirst(): void {
    const count = Math.min(this.#send.length, this.#mss)
    const end = this.#finQueued && count === this.#send.length
    this.#roundTrip.sentAgain()
    this.#emitFirst(count, end && this.#inFlight > count)
  }

  /** Sends the first bytes that are not acknowledged. */
  #emitFirst(count: number, end: boolean): void {
    const parts: Uint8Array[] = []
    if (count > 0) this.#send.slice(0, count, parts)
    this.#emit(this.#una, flagsFor(end, count > 0 && count === this.#send.length), parts, count)
  }

  #sendSyn(): void {
    const passive = this.#phase === 'syn-received'
    this.#maximum = advance(this.#una, 1)
    this.#next = this.#maximum
    this.#roundTrip.start(this.#maximum, this.#around.alarms.now())
    this.#armRetransmit()
    const room = Math.min(this.#room(), UNSCALED_LIMIT)
    if (passive) this.#edge = advance(this.#expected, room)
    this.#around.send(this, {
      sequence: this.#una,
      acknowledgment: passive ? this.#expected : 0,
      flags: SYN | (passive ? ACK : 0),
      window: room,
      options: {
        maximumSegmentSize: this.#ownMss,
        windowScale: passive && !this.#scaled ? undefined : RECEIVE_SHIFT,
      },
      parts: NO_PARTS,
      length: 0,
      segmentSize: this.#mss,
    })
  }

  #sendReset(): void {
    const acknowledges = this.#phase !== 'syn-sent'
    this.#around.send(this, {
      sequence: this.#next,
      acknowledgment: acknowledges ? this.#expected : 0,
      flags: RST | (acknowledges ? ACK : 0),
      window: 0,
      parts: NO_PARTS,
      length: 0,
      segmentSize: this.#mss,
    })
  }

  // Time.

  #onRetransmit(): void {
    const opening = this.#phase === 'syn-received' || this.#phase === 'syn-sent'
    if (++this.#retries > (opening ? SYN_RETRIES : RETRIES)) return this.abort()
    this.#roundTrip.backOff()
    if (opening) return this.#sendSyn()
    if (this.#phase !== 'open') return
    if (this.#inFlight === 0 || this.#window === 0) return this.#probeWindow()
    this.#threshold = Math.max(this.#inFlight / 2, 2 * this.#mss)
    this.#congestion = this.#mss
    this.#recover = undefined
    this.#duplicates = 0
    this.#armRetransmit()
    this.#next = advance(this.#una, Math.max(Math.min(this.#send.length, this.#mss), 1))
    this.#resendFirst()
  }

  /** A window that stays closed is asked about: RFC 9293, "Zero-Window Probing". */
  #guardWindow(): void {
    if (this.#phase !== 'open' || this.#inFlight > 0 || this.#retransmit.due !== Infinity) return
    if (this.#send.length > 0 || (this.#finQueued && !this.#finAcknowledged)) {
      this.#armRetransmit()
    }
  }

  #probeWindow(): void {
    if (this.#window > 0) return this.pump() // it was the link that had no room
    const count = Math.min(1, this.#send.length)
    const end = count === 0 && this.#finQueued
    if (count > 0 || end) {
      this.#next = advance(this.#una, 1)
      if (distance(this.#next, this.#maximum) > 0) this.#maximum = this.#next
      this.#emitFirst(count, end)
    }
    this.#armRetransmit()
  }

  #onIdle(): void {
    if (this.#phase === 'time-wait') return this.#close()
    if (this.#phase !== 'open') return this.abort()
    const quiet = this.#around.alarms.now() - this.#heard
    if (quiet < KEEPALIVE_IDLE - MILLISECOND) {
      this.#around.alarms.set(this.#idle, KEEPALIVE_IDLE - quiet)
      return
    }
    if (++this.#probes > KEEPALIVE_PROBES) return this.abort()
    this.#emit(advance(this.#una, -1), ACK, NO_PARTS, 0)
    this.#around.alarms.set(this.#idle, KEEPALIVE_INTERVAL)
  }

  #endIfDone(): void {
    if (this.#phase !== 'open' || !this.#finAcknowledged || !this.#guestEnded) return
    if (this.#guestEndedFirst) return this.#close()
    this.#phase = 'time-wait'
    this.#around.alarms.clear(this.#retransmit)
    this.#around.alarms.set(this.#idle, TIME_WAIT)
  }

  #close(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    for (const alarm of [this.#retransmit, this.#delayedAck, this.#idle]) this.#around.alarms.clear(alarm)
    this.#send.clear()
    this.#receive.clear()
    this.#around.budget.give(this.#sendLimit + this.#receiveLimit - 2 * FIRST_WINDOW)
    this.#around.closed(this)
  }
}

function flagsFor(end: boolean, push: boolean): number {
  return ACK | (end ? FIN : 0) | (push ? PSH : 0)
}
