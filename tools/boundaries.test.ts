// Who may import whom. Cycles between files are the linter's (noImportCycles).

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** What each workspace may import of the others; `pure` ones nothing of Node either. */
const RULES: Record<string, { may: readonly string[]; pure: boolean }> = {
  'packages/x86': { may: [], pure: true },
  'packages/vmm': { may: ['@typevisor/x86'], pure: true },
  'packages/host': { may: ['@typevisor/vmm', '@typevisor/x86'], pure: false },
  'packages/cli': { may: ['@typevisor/host'], pure: false },
  bench: { may: ['@typevisor/host', '@typevisor/example-browser'], pure: false },
  'examples/browser': { may: ['@typevisor/vmm', '@typevisor/x86'], pure: false },
}

interface Import {
  file: string
  specifier: string
}

/** Specifiers of static and dynamic imports and of re-exports. */
export function importsOf(source: string): string[] {
  const pattern = /(?:^|[\s;}])(?:from|import)\s*\(?\s*['"]([^'"\n]+)['"]/g
  return [...source.matchAll(pattern)].map(([, specifier]) => specifier)
}

function filesOf(workspace: string): string[] {
  return readdirSync(join(ROOT, workspace), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'))
    .map((file) => join(workspace, file))
}

function importsIn(workspace: string): Import[] {
  return filesOf(workspace).flatMap((file) =>
    importsOf(readFileSync(join(ROOT, file), 'utf8')).map((specifier) => ({ file, specifier })),
  )
}

/** Tests and what serves them may use Node. */
const isTest = (file: string) => file.endsWith('.test.ts') || file.includes('/testing/')

/** Packages that a workspace's package.json names. */
function dependenciesOf(workspace: string): string[] {
  const text = readFileSync(join(ROOT, workspace, 'package.json'), 'utf8')
  const { dependencies, devDependencies } = JSON.parse(text) as Record<string, Record<string, string>>
  return Object.keys({ ...dependencies, ...devDependencies })
}

describe('import boundaries', () => {
  it('finds every form of import', () => {
    const source = `import a from 'one'\nimport 'two'\nexport { b } from "three"\nconst c = await import('four')\nimport {\n  d,\n} from 'five'\nimport type { e } from 'six'`
    assert.deepEqual(importsOf(source), ['one', 'two', 'three', 'four', 'five', 'six'])
  })
  it('have a rule for every package', () => {
    const packages = ['packages', 'examples'].flatMap((folder) =>
      readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`),
    )
    assert.deepEqual(
      packages.filter((name) => !(name in RULES)),
      [],
    )
  })
  for (const [workspace, { may, pure }] of Object.entries(RULES)) {
    const imports = importsIn(workspace)
    const own = imports.filter(({ specifier }) => specifier.startsWith('@typevisor/'))
    it(`${workspace} imports of ours only ${may.join(', ') || 'nothing'}`, () => {
      assert.deepEqual(
        own.filter(({ specifier }) => !may.includes(specifier.split('/', 2).join('/'))),
        [],
      )
      assert.deepEqual(
        dependenciesOf(workspace).filter((name) => name.startsWith('@typevisor/') && !may.includes(name)),
        [],
      )
    })
    it(`${workspace} reaches into no other workspace by a path`, () => {
      const outside = imports.filter(({ file, specifier }) => {
        if (!specifier.startsWith('.')) return false
        return relative(join(ROOT, workspace), resolve(ROOT, dirname(file), specifier)).startsWith('..')
      })
      assert.deepEqual(outside, [])
    })
    it(`${workspace} names every package that it imports in its package.json`, () => {
      const bare = imports.filter(
        ({ specifier }) => /^(@|[a-z])/.test(specifier) && !/^(node|virtual):/.test(specifier),
      )
      const names = bare.map(({ specifier }) =>
        specifier
          .split('/')
          .slice(0, specifier.startsWith('@') ? 2 : 1)
          .join('/'),
      )
      const declared = dependenciesOf(workspace)
      assert.deepEqual(
        names.filter((name) => !declared.includes(name)),
        [],
      )
    })
    if (pure) {
      it(`${workspace} runs anywhere: outside its tests it imports nothing of Node, nor of others`, () => {
        const foreign = imports.filter(
          ({ file, specifier }) => !isTest(file) && !/^(\.|@typevisor\/)/.test(specifier),
        )
        assert.deepEqual(foreign, [])
      })
    }
  }
})
