import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import type { RegionAnswer, RegionWorker } from '@typevisor/x86'

/** What the thread gets: its end of the channel, and a count of its answers (i32), which says when there is one. */
export interface RegionThreadData {
  readonly port: MessagePort
  readonly answers: Int32Array<SharedArrayBuffer>
}

/** Starts a thread that makes recompiled code. It does not keep the process alive; what fails in it fails here. */
export function startRegionWorker(): RegionWorker {
  const { port1, port2 } = new MessageChannel()
  const answers = new Int32Array(new SharedArrayBuffer(4))
  const workerData = { port: port2, answers }
  const worker = new Worker(new URL('./region-thread.ts', import.meta.url), {
    workerData,
    transferList: [port2],
  })
  worker.unref()
  let seen = 0
  let listener: ((answer: RegionAnswer) => void) | undefined
  const take = (answer: RegionAnswer): void => {
    seen++
    listener?.(answer)
  }
  return {
    post: (request) => port1.postMessage(request),
    onAnswer(given) {
      listener = given
      port1.on('message', take)
      port1.unref() // a listener holds the process
    },
    poll() {
      if (Atomics.load(answers, 0) === seen) return
      const received = receiveMessageOnPort(port1)
      if (received) take(received.message as RegionAnswer)
    },
    end() {
      port1.close()
      void worker.terminate()
    },
  }
}
