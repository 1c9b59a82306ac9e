/** The thread that makes recompiled code. */
import { parentPort } from 'node:worker_threads'
import { answerRegions, type RegionRequest } from '@typevisor/x86'

const answer = answerRegions()
parentPort!.on('message', (request: RegionRequest) => {
  const answered = answer(request)
  if (answered) parentPort!.postMessage(answered)
})
