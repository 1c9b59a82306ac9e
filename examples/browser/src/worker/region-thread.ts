/** The worker that makes recompiled code. */
import { answerRegions, type RegionRequest } from '@typevisor/x86'

const answer = answerRegions()
addEventListener('message', ({ data }: MessageEvent<RegionRequest>) => {
  const answered = answer(data)
  if (answered) postMessage(answered)
})
