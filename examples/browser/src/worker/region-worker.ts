import type { RegionAnswer, RegionWorker } from '@typevisor/x86'

/** Starts a worker that makes recompiled code; what fails in it fails here. */
export function startRegionWorker(): RegionWorker {
  const worker = new Worker(new URL('./region-thread.ts', import.meta.url), { type: 'module' })
  worker.addEventListener('error', ({ message }) => {
    throw new Error(`Invariant broken: code could not be recompiled: ${message}`)
  })
  return {
    post: (request) => worker.postMessage(request),
    onAnswer: (listener) =>
      worker.addEventListener('message', ({ data }: MessageEvent<RegionAnswer>) => listener(data)),
    end: () => worker.terminate(),
  }
}
