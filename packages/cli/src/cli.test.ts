import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { COMMANDS } from './commands/index.ts'
import { SHELLS, writeCompletion } from './completion/completion.ts'
import { describeError } from './errors.ts'
import { commandHelp, parseCommandLine, parseMemory } from './options.ts'

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url))
let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'typevisor-cli-'))
})
after(() => rm(directory, { recursive: true }))

function typevisor(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    input: '',
    timeout: 60_000,
    env: { ...process.env, XDG_CACHE_HOME: directory, PATH: directory },
  })
  return { status, stdout, stderr }
}

/** A Multiboot kernel: `code` at 1 MiB + 4096. "Multiboot Specification 0.6.96", "Header layout". */
async function kernel(name: string, code: readonly number[]): Promise<string> {
  const flags = 0x1_0000
  const address = 0x10_0000
  const fields = [0x1bad_b002, flags, -(0x1bad_b002 + flags), address, address, 0, 0, address + 4096]
  const bytes = new Uint8Array(8192)
  fields.forEach((field, i) => {
    new DataView(bytes.buffer).setUint32(4 * i, field, true)
  })
  bytes.set(code, 4096)
  const path = join(directory, name)
  await writeFile(path, bytes)
  return path
}

/** mov dx, port; mov al, value; out dx, al */
const out = (port: number, value: number) => [0x66, 0xba, port & 0xff, port >> 8, 0xb0, value, 0xee]
/** cli; hlt; jmp to hlt */
const HALT = [0xfa, 0xf4, 0xeb, 0xfd]

describe('typevisor', () => {
  it('says what a wrong command line is wrong in, with a code and status 2', () => {
    for (const [code, ...args] of [
      ['TV_COMMAND_UNKNOWN', 'frob'],
      ['TV_COMMAND_UNKNOWN', 'image', 'frob'],
      ['TV_ARGUMENT_MISSING', 'image'],
      ['TV_ARGUMENT_MISSING', 'image', 'rm'],
      ['TV_ARGUMENT_MISSING', 'run'],
      ['TV_ARGUMENT_UNEXPECTED', 'image', 'ls', 'x'],
      ['TV_OPTION_UNKNOWN', '--frob'],
      ['TV_OPTION_UNKNOWN', 'run', 'tiny', '--frob=1'],
      ['TV_OPTION_UNKNOWN', 'run', 'tiny', '-x'],
      ['TV_OPTION_VALUE', 'run', 'tiny', '--memory', 'much'],
      ['TV_OPTION_VALUE', 'run', 'tiny', '--memory'],
      ['TV_OPTION_VALUE', 'run', 'tiny', '--disk', 'a,cache=none'],
      ['TV_OPTION_VALUE', 'run', 'tiny', '--net', 'tap'],
      ['TV_OPTION_VALUE', 'run', 'tiny', '--publish', '80:80'],
      ['TV_OPTION_VALUE', 'image', 'ls', '--json=1'],
      ['TV_OPTION_VALUE', 'completion', 'tcsh'],
      ['TV_ENGINE_UNKNOWN', 'run', 'tiny', '--engine', 'warp'],
      ['TV_IMAGE_UNKNOWN', 'run', 'huge'],
      ['TV_IMAGE_UNKNOWN', 'image', 'build', 'huge'],
    ]) {
      const { status, stdout, stderr } = typevisor(...args)
      assert.match(stderr, new RegExp(`^typevisor: [^\\n]*\\(${code}\\)\\n$`), args.join(' '))
      assert.deepEqual([status, stdout], [2, ''], args.join(' '))
    }
  })
  it('says what went wrong otherwise, with status 1', async () => {
    const foreign = join(directory, 'foreign')
    await writeFile(foreign, 'x'.repeat(4096))
    const halt = await kernel('with-devices', HALT)
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    after(() => taken.close())
    const { port } = taken.address() as { port: number }
    for (const [code, ...args] of [
      ['TV_IMAGE_NOT_BUILT', 'image', 'rm', 'tiny'],
      ['TV_IMAGE_NO_APT', 'image', 'build', 'tiny'],
      ['TV_FILE_NOT_FOUND', 'run', '--kernel', join(directory, 'missing')],
      ['TV_KERNEL_FORMAT', 'run', '--kernel', foreign],
      ['TV_FILE_UNWRITABLE', 'run', '--kernel', foreign, '--serial', directory],
      ['TV_FILE_UNWRITABLE', 'run', '--kernel', foreign, `--stats=${directory}`],
      ['TV_DISK_NOT_FOUND', 'run', '--kernel', halt, '--disk', join(directory, 'missing')],
      ['TV_DISK_FORMAT', 'run', '--kernel', halt, '--disk', `${foreign},format=qcow2`],
      ['TV_NETWORK_ADDRESS', 'run', '--kernel', halt, '--net', 'user,network=10.0.0.1/24'],
      ['TV_POLICY_ENTRY', 'run', '--kernel', halt, '--net', 'user,allow=a b'],
      ['TV_NETWORK_PORT_IN_USE', 'run', '--kernel', halt, '--net', 'user', '--publish', `${port}:80`],
    ]) {
      const { status, stderr } = typevisor(...args)
      assert.match(stderr, new RegExp(`typevisor: [^\\n]*\\(${code}\\)\\n$`), args.join(' '))
      assert.equal(status, 1, args.join(' '))
      assert.doesNotMatch(stderr, /\n {4}at /)
    }
  })
  it('lists images as text and as JSON', () => {
    assert.deepEqual(typevisor('image', 'ls'), { status: 0, stdout: '', stderr: '' })
    assert.deepEqual(JSON.parse(typevisor('image', 'ls', '--json').stdout), [])
  })
  it('helps with every command and with every option of it', () => {
    const { stdout } = typevisor('--help')
    for (const command of COMMANDS) {
      assert.ok(stdout.includes(`  ${command.name} `), command.name)
      const help = commandHelp(command)
      for (const option of Object.keys(command.options)) assert.ok(help.includes(`--${option}`))
    }
    assert.match(typevisor('run', '-h').stdout, /^Usage: typevisor run \[IMAGE\]/)
    assert.match(typevisor('--version').stdout, /^typevisor \d+\.\d+\.\d+\n$/)
  })
  for (const shell of SHELLS) {
    it(`completes in ${shell} every command and option`, () => {
      const script = writeCompletion(shell, COMMANDS)
      for (const { name, options } of COMMANDS) {
        for (const word of [...name.split(' '), ...Object.keys(options)])
          assert.ok(script.includes(word), word)
      }
    })
  }
  it('completes in a real bash', () => {
    const ask = (words: string[]) =>
      spawnSync('/bin/bash', {
        encoding: 'utf8',
        input: `${writeCompletion('bash', COMMANDS)}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_typevisor; echo "\${COMPREPLY[@]}"`,
      }).stdout.trim()
    assert.equal(ask(['typevisor', 'im']), 'image')
    assert.equal(ask(['typevisor', 'image', 'b']), 'build')
    assert.equal(ask(['typevisor', 'image', 'ls', '--j']), '--json')
    assert.equal(ask(['typevisor', 'run', '--engine', 'i']), 'interpreter')
  })
  it('reads amounts of memory', () => {
    assert.deepEqual(['512', '512M', '1g', '1GiB', '2048K', '1 GB'].map(parseMemory), [
      512 * 2 ** 20,
      512 * 2 ** 20,
      2 ** 30,
      2 ** 30,
      2 ** 21,
      2 ** 30,
    ])
    for (const text of ['', '-1', '1T', '1e3', '0x10', '1.5G']) {
      assert.throws(() => parseMemory(text), { code: 'TV_OPTION_VALUE' }, text)
    }
  })
  it('collects the values of options that may be repeated', () => {
    const run = COMMANDS.find(({ name }) => name === 'run')!
    const { lists } = parseCommandLine(run, ['--disk', 'a', '--disk=b', '--publish', '1:1'])
    assert.deepEqual(lists, { disk: ['a', 'b'], publish: ['1:1'] })
  })
  it('takes what follows -- for arguments', () => {
    const run = COMMANDS.find(({ name }) => name === 'run')!
    assert.deepEqual(parseCommandLine(run, ['--append', 'a b', '--', '--x']), {
      positionals: ['--x'],
      values: { append: 'a b' },
      lists: {},
      switches: new Set(),
    })
  })
  it('takes an option whose value may be left out for a switch, but after =', () => {
    const run = COMMANDS.find(({ name }) => name === 'run')!
    const { positionals, values, switches } = parseCommandLine(run, ['--stats', 'tiny'])
    assert.deepEqual([positionals, values, switches.has('stats')], [['tiny'], {}, true])
    assert.equal(parseCommandLine(run, ['--stats=a.json']).values.stats, 'a.json')
    assert.match(commandHelp(run), /--stats\[=FILE\] /)
  })
  it('describes a bug of ours without a stack trace', () => {
    const { status, line } = describeError(new TypeError('x is not a function'))
    assert.equal(status, 1)
    assert.match(line, /x is not a function \(TV_INTERNAL\)$/)
  })
})

describe('typevisor run', () => {
  it('shows the serial console, keeps a copy of it, and ends with the status of the guest', async () => {
    const path = await kernel('hello', [
      ...out(0x3f8, 0x48),
      ...out(0x3f8, 0x69),
      ...out(0xf4, 0x10),
      ...HALT,
    ])
    const log = join(directory, 'serial.log')
    const { status, stdout, stderr } = typevisor('run', '--kernel', path, '--memory', '4M', '--serial', log)
    assert.deepEqual({ status, stdout, stderr }, { status: 0x21, stdout: 'Hi', stderr: '' })
    assert.equal(await readFile(log, 'utf8'), 'Hi')
  })
  it('says at the end what was counted, as a table or as JSON', async () => {
    const path = await kernel('count', [...out(0xf4, 0x10), ...HALT])
    const table = typevisor('run', '--kernel', path, '--memory', '4M', '--stats')
    assert.equal(table.status, 0x21)
    assert.match(table.stderr, /^\ninstructions +\d+\n(.* +[\d.,]+\n)+$/)
    const file = join(directory, 'stats.json')
    const engine = ['--engine', 'jit']
    const json = typevisor('run', '--kernel', path, '--memory', '4M', `--stats=${file}`, ...engine)
    assert.equal(json.stderr, '')
    const { cpu, slices, peakMemoryBytes } = JSON.parse(await readFile(file, 'utf8'))
    assert.ok(cpu.retired >= 2 && cpu.exits.decode >= 1 && slices >= 1)
    assert.ok(peakMemoryBytes > 1 << 20)
    assert.equal(cpu.recompiler.smallMade, 0)
  })
  it('says at the end where the time went, and writes folded stacks', async () => {
    // mov ecx, 40,000,000; dec ecx; jnz to dec
    const loop = [0xb9, 0x00, 0x5a, 0x62, 0x02, 0x49, 0x75, 0xfd]
    const path = await kernel('profile', [...loop, ...out(0xf4, 0x10), ...HALT])
    const [map, stacks] = ['System.map', 'stacks'].map((name) => join(directory, name))
    await writeFile(map, '00101000 T spin\n')
    const args = ['--kernel', path, '--memory', '4M', `--profile=${stacks}`, '--symbols', map]
    const { status, stderr } = typevisor('run', ...args, '--engine', 'jit')
    assert.equal(status, 0x21)
    assert.match(stderr, /^\nOf \d+\.\d{3} seconds, by \d+ samples:\n *\d+\.\d % {2}kernel\n/)
    assert.match(stderr, /^ *\d+\.\d % +\d+ % recompiled {2}kernel {2}0000000000101005 {2}spin$/m)
    assert.match(await readFile(stacks, 'utf8'), /^kernel;0000000000101000;spin \d+$/m)
    await writeFile(map, 'no map')
    assert.match(typevisor('run', ...args).stderr, /TV_OPTION_VALUE/)
  })
  it('ends with a report and status 4 after a triple fault, and with status 6 after a reset', async () => {
    const fault = await kernel('fault', [0x0f, 0x0b])
    const first = typevisor('run', '--kernel', fault, '--memory', '4M')
    assert.equal(first.status, 4)
    assert.match(first.stderr, /RIP/i)
    assert.doesNotMatch(first.stderr, /\n {4}at /)
    const reset = await kernel('reset', [...out(0xcf9, 6), ...HALT])
    assert.equal(typevisor('run', '--kernel', reset, '--memory', '4M').status, 6)
  })
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    it(`ends by ${signal} with status ${status} though the guest halted for ever`, async () => {
      const path = await kernel('halt', [...out(0x3f8, 0x48), ...HALT])
      const child = spawn(process.execPath, [MAIN, 'run', '--kernel', path, '--memory', '4M', '--stats'])
      let errors = ''
      child.stderr.on('data', (chunk: Buffer) => {
        errors += chunk
      })
      const ended = new Promise((resolve) => child.on('close', resolve))
      await new Promise((resolve) => child.stdout.once('data', resolve))
      child.kill(signal)
      setTimeout(() => child.kill(signal), 5000).unref()
      assert.equal(await ended, status)
      assert.match(errors, /^instructions +[1-9]/m)
    })
  }
  it('types standard input into the guest, and Ctrl-D at its end', async () => {
    // MCR = DTR, RTS; then echo each byte until 4 comes, which goes to isa-debug-exit.
    const echo = [
      ...out(0x3fc, 3),
      ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7], // wait: mov dx, LSR; in al, dx; test al, 1; jz wait
      ...[0x66, 0xba, 0xf8, 0x03, 0xec, 0x3c, 0x04, 0x74, 0x03, 0xee, 0xeb, 0xeb], // in; cmp 4; jz end; out; jmp wait
      ...[0x66, 0xba, 0xf4, 0x00, 0xee, ...HALT],
    ]
    const path = await kernel('echo', echo)
    const text = 'The quick brown fox jumps over the lazy dog.\n'.repeat(5000)
    const { status, stdout } = spawnSync(
      process.execPath,
      [MAIN, 'run', '--kernel', path, '--memory', '4M'],
      {
        encoding: 'utf8',
        input: text,
        timeout: 60_000,
      },
    )
    assert.equal(stdout, text)
    assert.equal(status, 9)
  })
  const noScript = spawnSync('script', ['--version']).error ? 'script(1) is not installed' : false
  it('has the terminal in raw mode meanwhile and gives it back', {
    skip: noScript,
    timeout: 30_000,
  }, async () => {
    const path = await kernel('tty', [...out(0x3f8, 0x48), ...HALT])
    const run = `'${process.execPath}' '${MAIN}' run --kernel '${path}' --memory 4M`
    const child = spawn('script', ['-qec', `${run}; echo status $?; stty -a`, '/dev/null'], {
      env: { ...process.env, SHELL: '/bin/sh' },
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk
      if (output === 'H') child.stdin.write('\x03\x01h')
      else if (output.endsWith('Ctrl-A A)\r\n')) child.stdin.write('\x01x')
    })
    await new Promise((resolve) => child.on('close', resolve))
    assert.match(output, /^H\r\nCtrl-A X .*\r\n.*\r\n.*Ctrl-A A\)\r\nstatus 0\r\n/)
    assert.match(output, /[^-]icanon/)
    assert.match(output, /[^-]echo\b/)
  })
})
