import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { it } from 'node:test'
import { COVERAGE_FILE, isaCoverage } from './isa-coverage.ts'

it('docs/generated/isa-coverage.md says what the instruction tables say (npm run docs)', () => {
  assert.equal(readFileSync(COVERAGE_FILE, 'utf8'), isaCoverage())
})
