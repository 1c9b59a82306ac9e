import type { LocalApic } from './local-apic.ts'
import type { ApicMessage } from './message.ts'

/** Carries interrupt messages from I/O APICs and between local APICs. */
export class ApicBus {
  readonly #apics: LocalApic[] = []

  attach(apic: LocalApic): void {
    this.#apics.push(apic)
  }

  /** A message from an I/O APIC, or an IPI from `sender`. Lowest priority goes to the first that matches. */
  send(
    message: ApicMessage,
    shorthand: 'none' | 'self' | 'all' | 'others' = 'none',
    sender?: LocalApic,
  ): void {
    for (const apic of this.#apics) {
      if (!addressed(apic, message, shorthand, sender)) continue
      apic.receive(message)
      if (message.mode === 1 && shorthand === 'none') return
    }
  }
}

function addressed(
  apic: LocalApic,
  message: ApicMessage,
  shorthand: string,
  sender: LocalApic | undefined,
): boolean {
  switch (shorthand) {
    case 'self':
      return apic === sender
    case 'all':
      return true
    case 'others':
      return apic !== sender
    default:
      return apic.matches(message)
  }
}
