import { FitAddon } from '@xterm/addon-fit'
import { Terminal } from '@xterm/xterm'
import '@xterm/xterm/css/xterm.css'
import type { TerminalSize } from './options.ts'

const NARROW = '(max-width: 44rem)'

const THEME = {
  background: '#070a10',
  foreground: '#d5deea',
  cursor: '#5eead4',
  cursorAccent: '#070a10',
  selectionBackground: '#2b4a66',
  black: '#1c2430',
  red: '#fb7185',
  green: '#4ade80',
  yellow: '#fbbf24',
  blue: '#60a5fa',
  magenta: '#c084fc',
  cyan: '#22d3ee',
  white: '#d5deea',
  brightBlack: '#64748b',
  brightRed: '#fda4af',
  brightGreen: '#86efac',
  brightYellow: '#fde68a',
  brightBlue: '#93c5fd',
  brightMagenta: '#d8b4fe',
  brightCyan: '#67e8f9',
  brightWhite: '#f8fafc',
} as const

/** The guest's serial console: xterm.js, as large as its place. */
export class Console {
  readonly #terminal: Terminal
  readonly #fit = new FitAddon()

  constructor(place: HTMLElement, onInput: (bytes: Uint8Array) => void) {
    this.#terminal = new Terminal({
      theme: THEME,
      fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'),
      fontSize: matchMedia(NARROW).matches ? 12 : 14,
      lineHeight: 1.15,
      scrollback: 5000,
      // By an animation, which paints the page 60 times a second.
      cursorBlink: false,
      screenReaderMode: false,
    })
    this.#terminal.loadAddon(this.#fit)
    this.#terminal.open(place)
    this.#fit.fit()
    new ResizeObserver(() => this.#fit.fit()).observe(place)
    const encoder = new TextEncoder()
    this.#terminal.onData((text) => onInput(encoder.encode(text)))
    this.#terminal.onBinary((text) => onInput(Uint8Array.from(text, (character) => character.charCodeAt(0))))
  }

  get size(): TerminalSize {
    const { rows, cols } = this.#terminal
    return { rows, cols }
  }

  /** Writes a guest's output; `onShown` is called when it has been taken in. */
  write(bytes: Uint8Array, onShown: () => void): void {
    this.#terminal.write(bytes, onShown)
  }

  /** Types for the user. */
  type(text: string): void {
    this.#terminal.input(text)
    this.focus()
  }

  focus(): void {
    this.#terminal.focus()
  }

  blur(): void {
    this.#terminal.blur()
  }

  clear(): void {
    this.#terminal.reset()
  }
}
