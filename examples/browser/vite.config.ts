import { defineConfig } from 'vite'
import { keptCode } from './tools/kept-code.ts'

export default defineConfig({
  base: './',
  build: { target: 'esnext', assetsInlineLimit: 0 },
  worker: { format: 'es', plugins: () => [keptCode()] },
  optimizeDeps: { exclude: ['node-liblzma'] },
})
