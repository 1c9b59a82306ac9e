import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

function codesInSources(): Set<string> {
  const codes = new Set<string>()
  for (const folder of ['packages', 'bench', 'examples']) {
    for (const file of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.endsWith('.test.ts') || file.includes('node_modules')) continue
      const source = readFileSync(join(ROOT, folder, file), 'utf8')
      for (const [, code] of source.matchAll(/\b(TV_[A-Z][A-Z_]*[A-Z])\b/g)) codes.add(code)
    }
  }
  return codes
}

function documentedCodes(): Set<string> {
  const text = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8')
  return new Set([...text.matchAll(/^\| `(TV_[A-Z_]+)` \|/gm)].map(([, code]) => code))
}

describe('error codes', () => {
  it('are all documented', () => {
    const documented = documentedCodes()
    assert.deepEqual(
      [...codesInSources()].filter((code) => !documented.has(code)),
      [],
    )
  })
  it('all exist', () => {
    const existing = codesInSources()
    assert.deepEqual(
      [...documentedCodes()].filter((code) => !existing.has(code)),
      [],
    )
  })
})
