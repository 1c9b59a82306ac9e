import { defineConfig } from 'vite'
import { keptCode } from './tools/kept-code.ts'

export default defineConfig({
  base: './',
  build: { target: 'esnext', assetsInlineLimit: 0 },
  plugins: [keptCode()],
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['node-liblzma'] },
})
