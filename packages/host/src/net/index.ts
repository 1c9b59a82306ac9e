export { readPolicy } from '@typevisor/vmm/net'
export { createCapture } from './capture.ts'
export { createHostNetwork } from './host-network.ts'
export { connectSwitch, type SwitchServer, serveSwitch } from './switch-socket.ts'
