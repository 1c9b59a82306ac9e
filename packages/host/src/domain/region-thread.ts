/** The thread that makes recompiled code. */
import { workerData } from 'node:worker_threads'
import type { RegionRequest } from '@typevisor/x86'
import '../cache/modules.ts'
import { lowerThisThread } from './priority.ts'
import type { RegionThreadData } from './region-worker.ts'

lowerThisThread()
const { port, answers } = workerData as RegionThreadData
const { answerRegions } = await import('@typevisor/x86')
const answer = answerRegions()
port.on('message', (request: RegionRequest) => {
  const answered = answer(request)
  if (!answered) return
  port.postMessage(answered)
  Atomics.add(answers, 0, 1)
})
