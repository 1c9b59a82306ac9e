import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ALL_PROGRAMS } from './groups.ts'

const SOURCES = fileURLToPath(new URL('../vmbench', import.meta.url))

describe('groups', () => {
  it('name every program of vmbench once', () => {
    const named = readdirSync(SOURCES)
      .filter((file) => file.endsWith('.c'))
      .flatMap((file) => programsIn(readFileSync(join(SOURCES, file), 'utf8')))
    assert.deepEqual(ALL_PROGRAMS.toSorted(), [...new Set(named)].sort())
    assert.equal(new Set(ALL_PROGRAMS).size, ALL_PROGRAMS.length)
  })
})

/** The first field of each `struct bench`. */
function programsIn(source: string): string[] {
  return [...source.matchAll(/const struct bench \w+(?:\(\w*\))? = \{\s*"([\w-]+)"/g)].map(([, name]) => name)
}
