import { Worker } from 'node:worker_threads'
import type { RegionWorker } from '@typevisor/x86'

/** Starts a thread that makes recompiled code. It does not keep the process alive; what fails in it fails here. */
export function startRegionWorker(): RegionWorker {
  const worker = new Worker(new URL('./region-thread.ts', import.meta.url))
  worker.unref()
  return {
    post: (request) => worker.postMessage(request),
    onAnswer(listener) {
      worker.on('message', listener)
      worker.unref() // once more: a listener holds the process again
    },
    end: () => void worker.terminate(),
  }
}
