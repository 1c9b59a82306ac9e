/** The thread that makes recompiled code. */
import { parentPort } from 'node:worker_threads'
import type { RegionRequest } from '@typevisor/x86'
import '../cache/modules.ts'

const { answerRegions } = await import('@typevisor/x86')
const answer = answerRegions()
parentPort!.on('message', (request: RegionRequest) => {
  const answered = answer(request)
  if (answered) parentPort!.postMessage(answered)
})
